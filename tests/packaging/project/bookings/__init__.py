"""App that books seats by a saga."""
