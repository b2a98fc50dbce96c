"""List of sagas and its filters."""
