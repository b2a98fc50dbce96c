"""Columns of the engine's tables whose values do not depend on a project's time zone settings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import models


class _MomentField(models.DateTimeField):  # type: ignore[type-arg]
    """Time, read as an aware datetime in UTC.

    Django returns naive local times with ``USE_TZ = False``, and times in another zone with
    ``DATABASES[...]["TIME_ZONE"]`` or after a ``SET TIME ZONE``. Local times occur twice when clocks go back, so leases
    and due times computed from them would be an hour off.

    Order by it on rows (``only(...)``), not on ``values_list(...)``: Django then orders by the selected expression,
    which no index contains.
    """

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        """Return SQL that selects the time in UTC, whatever the session's time zone."""
        return f"({sql} AT TIME ZONE 'UTC')", params

    def from_db_value(self, value: datetime | None, expression: Any, connection: Any) -> datetime | None:
        """Return the time as an aware datetime in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def deconstruct(self) -> Any:
        """Return the deconstruction of a DateTimeField, which migrations are to contain."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs


if TYPE_CHECKING:
    # Its values have the types of Django's field, which type checkers know by name.
    MomentField = models.DateTimeField
else:
    MomentField = _MomentField


def database_now() -> models.Func:
    """Return the database's clock as an expression, evaluated by the statement that contains it."""
    return models.Func(function="clock_timestamp", output_field=MomentField())
