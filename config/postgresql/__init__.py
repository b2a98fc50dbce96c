"""Django's PostgreSQL backend for processes that keep a pool of connections; named in DATABASES by its package."""
