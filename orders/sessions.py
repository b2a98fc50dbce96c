"""Keep sessions as Django does, and look up only keys that Django itself could have made."""

from django.contrib.sessions.backends import db

__all__ = ["SessionStore"]


class SessionStore(db.SessionStore):
    """Take any other key for no session: a quoted cookie can hold a NUL, which PostgreSQL answers with an error."""

    def _validate_session_key(self, key: str) -> bool:
        return super()._validate_session_key(key) and key.isascii() and key.isalnum()
