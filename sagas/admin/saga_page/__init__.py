"""Page of one saga."""
