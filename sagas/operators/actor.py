"""Actor: who operates on a saga, and with which permissions."""

from __future__ import annotations

import getpass
import platform
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import router

from ..exceptions import BadRequest, PermissionRefused
from ..models.history import SHELL_MARK

MAX_NAME_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Operator of a saga, by value: the name outlives the account."""

    name: str
    """Name as written to the history."""
    user: Any = None
    """Account whose permissions are checked; None for the machine's own account."""
    is_trusted: bool = False
    """Whether no permission is needed: for operators with a shell on the machine, and for owners of a saga."""
    bulk: UUID | None = None
    """Bulk that the operation is part of; the history names it."""

    @classmethod
    def of_user(cls, user: Any) -> Actor:
        """Return the actor of a logged-in account; its permissions count."""
        return cls(name=str(user.get_username())[:MAX_NAME_CHARS], user=user)

    @classmethod
    def of_owner(cls, user: Any) -> Actor:
        """Return an account that operates on its own saga; the caller has checked the ownership."""
        return cls(name=str(user.get_username())[:MAX_NAME_CHARS], user=user, is_trusted=True)

    @classmethod
    def of_command_line(cls, username: str | None = None) -> Actor:
        """Return the actor of a command: the operating system's account, plus the given account with its permissions.

        Raises: BadRequest when there is no active account of this name.
        """
        account = f"{_os_account()}@{platform.node()}"
        if username is None:
            return cls(name=account[:MAX_NAME_CHARS], is_trusted=True)
        user = find_account(get_user_model().USERNAME_FIELD, username)
        # is_active is not a column of every user model, so it is not part of the query.
        if user is None or not user.is_active:
            raise BadRequest(f"There is no active user {username!r}; give --user the name of one, or leave it out.")
        return cls(name=f"{username}{SHELL_MARK}{account})"[:MAX_NAME_CHARS], user=user)

    def require(self, permission: str) -> None:
        """Check a permission of the app ``sagas``.

        Raises: PermissionRefused.
        """
        if not self.may(permission):
            raise PermissionRefused(f"{self.name} lacks the permission sagas.{permission}.")

    def may(self, permission: str) -> bool:
        """Return whether the actor has a permission of the app ``sagas``."""
        return self.is_trusted or (self.user is not None and bool(self.user.has_perm(f"sagas.{permission}")))


def find_account(field: str, value: str) -> Any:
    """Return the account with a value in a field, or None; also None for a value that the field cannot have.

    Reads the database that accounts are written to: a replica may lack an account that was just created.
    """
    model = get_user_model()
    accounts = model._default_manager.using(router.db_for_write(model))
    try:
        return accounts.filter(**{field: value}).first()
    except (ValueError, ValidationError):
        return None


def _os_account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
