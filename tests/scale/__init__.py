"""Scale tests with millions of rows."""
