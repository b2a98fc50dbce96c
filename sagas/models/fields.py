"""Columns of the engine's tables that Django's own fields would read differently from project to project."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import models


class _MomentField(models.DateTimeField):  # type: ignore[type-arg]
    """Moment in time, read as an aware datetime in UTC.

    Django hands out naive local times with ``USE_TZ = False``, and times in another zone with
    ``DATABASES[...]["TIME_ZONE"]`` or after somebody's ``SET TIME ZONE``. Local times occur twice when clocks go back,
    so leases and due times computed from them would be an hour off.

    Order by it on rows (``only(...)``), not on ``values_list(...)``: Django then orders by what is selected, which is
    in no index.
    """

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        """Return what is selected: the time in UTC, whatever the time zone of the session is."""
        return f"({sql} AT TIME ZONE 'UTC')", params

    def from_db_value(self, value: datetime | None, expression: Any, connection: Any) -> datetime | None:
        """Return the moment as aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def deconstruct(self) -> Any:
        """Describe the column to migrations: the one of DateTimeField."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs


if TYPE_CHECKING:
    # The types of its values are those of Django's field, which type checkers know by name.
    MomentField = models.DateTimeField
else:
    MomentField = _MomentField


def database_now() -> models.Func:
    """Return the database's clock as an expression, to be read in the statement that it stands in."""
    return models.Func(function="clock_timestamp", output_field=MomentField())
