"""Give a step function what it needs: its input, earlier results, its keys, and the time left.

Pure: no Django import.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from .exceptions import SagaError
from .states import Direction

InputT = TypeVar("InputT")


def step_key(saga_id: UUID | str, step: str) -> str:
    """Return the idempotency key of a step's action."""
    return f"{saga_id}:{step}"


def compensation_key(saga_id: UUID | str, step: str, epoch: int) -> str:
    """Return the key under which a provider is asked to undo the step."""
    return f"{step_key(saga_id, step)}:compensate:{epoch}"


@dataclass(frozen=True, kw_only=True)
class StepContext(Generic[InputT]):
    """Hold what one attempt may know. The same key and input on every attempt (invariant I7)."""

    saga_id: UUID
    """The saga."""
    step: str
    """The step's name."""
    direction: Direction
    """Whether this is the action or the compensation."""
    input: InputT
    """The typed input of the saga; None when its definition declares none."""
    results: Mapping[str, dict[str, Any]]
    """Results of succeeded steps, by step name."""
    attempt: int
    """The number of this attempt in this direction, from 1."""
    epoch: int = 0
    """How often the compensation was reopened by a late effect."""
    expires_at: float = field(default_factory=lambda: time.monotonic() + 10.0)
    """When the attempt's time-out ends, on this process's monotonic clock."""
    settler: Callable[[], dict[str, Any] | None] | None = field(default=None, repr=False)
    """Runs the action again under its key; set by the engine for compensations of external steps."""

    @property
    def key(self) -> str:
        """The step key: the idempotency key of the action, in both directions."""
        return step_key(self.saga_id, self.step)

    @property
    def provider_key(self) -> str:
        """The key to give a provider for this very call."""
        if self.direction is Direction.ACTION:
            return self.key
        return compensation_key(self.saga_id, self.step, self.epoch)

    @property
    def remaining(self) -> float:
        """Seconds until the attempt's time-out; never negative. Give it to network clients."""
        return max(0.0, self.expires_at - time.monotonic())

    def key_of(self, step: str) -> str:
        """Return the step key of another step of this saga."""
        return step_key(self.saga_id, step)

    def settle(self) -> dict[str, Any] | None:
        """Repeat the action under its key, to learn what it did before undoing it (rule S4).

        Raises: whatever the action raises; SagaError when called outside the compensation of an external step.
        """
        if self.settler is None:
            raise SagaError(f"{self.step}: settle() belongs into the compensation of an external step with an action.")
        return self.settler()
