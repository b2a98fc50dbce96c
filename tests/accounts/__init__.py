"""Projects with accounts of their own: other keys, no user names, no column that says who is active."""
