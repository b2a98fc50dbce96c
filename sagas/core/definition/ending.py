"""Argument of a ``Meta.on_closed`` hook: how a saga ended. Pure: no Django import."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class SagaClosed:
    """End of a saga. ``sagas.summarize(closed.saga_id)`` returns the rest: input, results, every step."""

    saga_id: UUID
    """The id of the saga."""
    definition: str
    """The stored name of its definition."""
    version: int
    """The version of its definition."""
    state: str
    """How it ended: completed, compensated or abandoned."""
    business_keys: Mapping[str, str]
    """Its business keys by name."""
    cause: Mapping[str, Any] | None
    """Why it started compensating: kind, step, error_class, message; None when it did not."""
    started_at: datetime
    """When it was started, by the database's clock."""
    closed_at: datetime
    """When it was closed."""
    tries: int = 1
    """The number of this call for this end, from 1."""

    @property
    def id(self) -> str:
        """Return an id by which receivers recognise a repeated call; a saga that is closed again has a new one."""
        return f"{self.saga_id}:closed:{self.closed_at:%Y%m%dT%H%M%S.%fZ}"
