"""What a hook of ``Meta.on_closed`` is given: how a saga ended. Pure: no Django import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class SagaClosed:
    """The end of a saga. ``sagas.summarize(closed.saga_id)`` tells the rest: input, results, every step."""

    saga_id: UUID
    """The saga."""
    definition: str
    """The stored name of its definition."""
    version: int
    """The version it ran on."""
    state: str
    """How it ended: completed, compensated or abandoned."""
    business_keys: Mapping[str, str]
    """What it is searched by, by name."""
    cause: Mapping[str, Any] | None
    """Why it turned back: kind, step, error_class, message; None when it did not."""
    started_at: datetime
    """When it was started, by the database's clock."""
    closed_at: datetime
    """When it was closed."""
    tries: int = 1
    """The number of this call for this end, from 1."""

    @property
    def id(self) -> str:
        """The same for every call for this end, so that a receiver knows a repeat; another one if the saga was reopened
        and closed again."""
        return f"{self.saga_id}:closed:{self.closed_at:%Y%m%dT%H%M%S.%fZ}"
