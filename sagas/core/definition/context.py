"""Context of a step function: its input, earlier results, its keys, and the time left.

Pure: no Django import.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from ...exceptions import ResultRedacted, SagaError
from ..redaction.redactor import holds_mask
from ..states import Direction

InputT = TypeVar("InputT")


def step_key(saga_id: UUID | str, step: str) -> str:
    """Return the idempotency key of a step's action."""
    return f"{saga_id}:{step}"


def compensation_key(saga_id: UUID | str, step: str, epoch: int) -> str:
    """Return the idempotency key of a step's compensation at a provider."""
    return f"{step_key(saga_id, step)}:compensate:{epoch}"


class Results(Mapping[str, dict[str, Any]]):
    """Results of earlier steps; reading a masked value raises ResultRedacted."""

    def __init__(self, stored: Mapping[str, dict[str, Any]]) -> None:
        self._stored = stored

    def __getitem__(self, step: str) -> dict[str, Any]:
        """Return the result of a step.

        Raises: KeyError.
        """
        result = self._stored[step]
        return MaskedResult(result, f"the result of {step}") if holds_mask(result) else result

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __repr__(self) -> str:
        return f"Results({dict(self._stored)!r})"


class MaskedResult(dict[str, Any]):
    """Result with masked values: reading one raises ResultRedacted, other values can be read."""

    def __init__(self, stored: Mapping[str, Any], name: str) -> None:
        super().__init__(stored)
        self._name = name

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, dict) and holds_mask(value):
            return MaskedResult(value, f"{self._name}, {key}")
        if holds_mask(value):
            raise ResultRedacted(
                f"{key!r} in {self._name} was masked as a secret before it was stored. Let that step return a"
                " reference. If it is not a secret, add the key to SAGAS['REDACT_EXCEPT']."
            )
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or the default if the key is missing."""
        return self[key] if key in self else default  # noqa: SIM401 - it would call itself

    def __iter__(self) -> Iterator[str]:
        # Overridden, so that dict(result) and {**result} read each value through __getitem__, too.
        return iter(list(super().keys()))

    def values(self) -> Any:
        """Return the values."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """Return the pairs of keys and values."""
        return [(key, self[key]) for key in self]

    def copy(self) -> dict[str, Any]:
        """Return a copy that checks for masked values, too."""
        return MaskedResult(self._read_stored(), self._name)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key, and return its value."""
        value = self[key] if key in self or not default else default[0]
        super().pop(key, None)
        return value

    def __or__(self, other: Any) -> Any:
        return {**self, **other}

    def _read_stored(self) -> dict[str, Any]:
        return {key: super(MaskedResult, self).__getitem__(key) for key in self}


@dataclass(frozen=True, kw_only=True)
class StepContext(Generic[InputT]):
    """Argument of a step function. Key and input are the same on every attempt (invariant I7)."""

    saga_id: UUID
    """The id of the saga."""
    step: str
    """The step's name."""
    direction: Direction
    """Whether this is the action or the compensation."""
    input: InputT
    """The typed input of the saga; None when its definition declares none."""
    results: Mapping[str, dict[str, Any]]
    """Results of succeeded steps, by step name; reading a masked value raises ResultRedacted."""
    attempt: int
    """The number of this attempt in this direction, from 1."""
    epoch: int = 0
    """How often the compensation was reopened by a late effect."""
    expires_at: float = field(default_factory=lambda: time.monotonic() + 10.0)
    """When the attempt's time-out ends, on this process's monotonic clock."""
    repeater: Callable[[], dict[str, Any] | None] | None = field(default=None, repr=False)
    """Runs the action again under its key; set by the engine for compensations of external steps."""

    @property
    def key(self) -> str:
        """Return the step key: the idempotency key of the action, in both directions."""
        return step_key(self.saga_id, self.step)

    @property
    def provider_key(self) -> str:
        """Return the idempotency key for a provider, which differs by direction and epoch."""
        if self.direction is Direction.ACTION:
            return self.key
        return compensation_key(self.saga_id, self.step, self.epoch)

    @property
    def remaining(self) -> float:
        """Return the seconds until the attempt's time-out, never negative; to be given to network clients."""
        return max(0.0, self.expires_at - time.monotonic())

    def key_of(self, step: str) -> str:
        """Return the step key of another step of this saga."""
        return step_key(self.saga_id, step)

    def repeat_action(self) -> dict[str, Any] | None:
        """Repeat the action under its key, to learn what it did before undoing it (rule S4).

        Raises: any exception of the action; SagaError when called outside the compensation of an external step.
        """
        if self.repeater is None:
            raise SagaError(f"{self.step}: repeat_action() is for compensations of external steps with an action.")
        return self.repeater()
