"""Ask the engine's database whatever a router says of reading: a replica that is late would have sagas done twice.

A row of the engine is read to be acted on, by workers, operators and the project's own code. So each query goes to
SAGAS['DATABASE'] unless it names another alias with ``using``: also those of related managers, of foreign keys, and of
``refresh_from_db``, which would ask the router again.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

from ..conf import get_settings

RowT = TypeVar("RowT", bound=models.Model)


class EngineQuerySet(models.QuerySet[RowT]):
    """A query of the engine's tables."""

    _db: str | None

    @property
    def db(self) -> str:
        """The alias that it is sent to."""
        return self._db or get_settings().database


class EngineManager(models.Manager[RowT]):
    """Queries of the engine's tables, as every way to its rows begins them."""

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
    """A row of the engine's own database; barriers are rows of participants."""

    objects = EngineManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"  # foreign keys and refresh_from_db ask it
