"""Database router: each participant may have its own database, everything else is in the main one."""

from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from sagas.participants.tables import is_participant_table

PARTICIPANTS = frozenset({"payments", "inventory", "shipping"})


class ParticipantRouter:
    """Router of a participant's models to the alias of its name if configured, else to the main database."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str:
        """Return the database that the model is written to; there are no replicas."""
        return self._alias_of(model._meta.app_label)

    def db_for_write(self, model: type[Model], **_hints: Any) -> str:
        """Return the one database that has the model's table."""
        return self._alias_of(model._meta.app_label)

    def allow_relation(self, first: Model, second: Model, **_hints: Any) -> bool:
        """Allow relations only within one database."""
        return self._alias_of(first._meta.app_label) == self._alias_of(second._meta.app_label)

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **_hints: Any) -> bool:
        """Allow a participant's tables, barrier and events in its database, and all others only in the main one."""
        if db == DEFAULT_DB_ALIAS:
            return self._alias_of(app_label) == DEFAULT_DB_ALIAS
        if is_participant_table(app_label, model_name):
            return True
        return self._alias_of(app_label) == db

    @staticmethod
    def _alias_of(app_label: str) -> str:
        if app_label in PARTICIPANTS and app_label in settings.DATABASES:
            return app_label
        return DEFAULT_DB_ALIAS
