"""Django choices and CHECK constraints made from the engine's enumerations."""

from collections.abc import Iterable
from enum import StrEnum

from django.db import models


def choices_of(values: Iterable[StrEnum]) -> list[tuple[str, str]]:
    """Return choices with readable labels, in the order of declaration."""
    return [(value.value, value.value.replace("_", " ")) for value in values]


def one_of(field: str, values: Iterable[StrEnum], name: str) -> models.CheckConstraint:
    """Return a constraint that limits a column to the values of an enumeration (NULL passes)."""
    return models.CheckConstraint(condition=models.Q(**{f"{field}__in": [value.value for value in values]}), name=name)
