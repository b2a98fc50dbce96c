"""Recognise the user by a token. Session log-ins, with their CSRF check, are the framework's own."""

from typing import Any

from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed


class StrictTokenAuthentication(TokenAuthentication):
    """Token authentication that looks up only what can be a token: PostgreSQL answers a NUL with an error."""

    def authenticate_credentials(self, key: str) -> tuple[Any, Any]:
        """Return user and token.

        Raises: AuthenticationFailed.
        """
        if not (key.isascii() and key.isalnum() and len(key) <= 128):
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(key)
