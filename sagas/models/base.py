"""Base of the engine's models: every query goes to the engine's database, whatever a database router says.

A stale replica would make workers repeat work, because workers, operators and the project's code read rows to act on
them. Each query goes to SAGAS['DATABASE'] unless it names another alias with ``using``. This includes related managers,
foreign keys and ``refresh_from_db``, which would ask the router again.
"""

from typing import Any, TypeVar

from django.db import models

from ..conf import get_settings

RowT = TypeVar("RowT", bound=models.Model)


class EngineQuerySet(models.QuerySet[RowT]):
    """Query of the engine's tables."""

    _db: str | None

    @property
    def db(self) -> str:
        """The alias that the query is sent to."""
        return self._db or get_settings().database


class EngineManager(models.Manager[RowT]):
    """Manager of the engine's tables, also used for related rows."""

    _db: str | None
    _hints: dict[str, Any]

    def get_queryset(self) -> EngineQuerySet[RowT]:
        """Return all rows."""
        return EngineQuerySet(model=self.model, using=self._db, hints=self._hints)

    @property
    def db(self) -> str:
        """The alias that its queries are sent to."""
        return self._db or get_settings().database


class EngineModel(models.Model):
    """Row of the engine's own database; barrier rows belong to participants."""

    objects = EngineManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"  # used by foreign keys and refresh_from_db
