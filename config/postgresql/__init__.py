"""Django's PostgreSQL backend for processes with a connection pool; DATABASES names this package."""
