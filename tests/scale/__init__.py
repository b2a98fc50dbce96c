"""Try the engine on millions of rows."""
