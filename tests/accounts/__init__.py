"""Projects with custom user models: other keys, no user names, no ``is_active`` column."""
