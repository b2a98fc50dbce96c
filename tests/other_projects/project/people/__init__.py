"""Custom user model."""
