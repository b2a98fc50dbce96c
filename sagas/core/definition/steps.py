"""The steps of a saga as they are declared: kinds, options and groups.

Source: Garcia-Molina and Salem, *Sagas* (1987); C. Richardson, *Microservices Patterns*, ch. 4 (step kinds). Pure:
no Django import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ...exceptions import DefinitionError
from ..redaction import redactor
from ..retry import RetryPolicy
from ..states import Direction, Kind
from . import options
from .options import MAX_KEY_CHARS, StepFunction


@dataclass(frozen=True, kw_only=True)
class Step:
    """Everything that is declared about one step."""

    kind: Kind
    """Compensatable, pivot or retriable."""
    action: StepFunction | None
    """What the step does going forward; None when it was done together with the start of the saga."""
    compensation: StepFunction | None = None
    """What semantically undoes it; finds the effect by step key, with or without the action's result."""
    participant: str | None = None
    """The app label that owns the data; None: the definition's own app."""
    external: bool = False
    """Whether it talks to the outside world: then it runs outside any transaction."""
    queue: str | None = None
    """The Celery queue whose workers run it; None: the project's default queue."""
    timeout: timedelta | None = None
    """How long one attempt of the action may take; None: the project's default."""
    retry: RetryPolicy | None = None
    """Budget and delays of the action; None: the project's default."""
    refuses_on: tuple[type[Exception], ...] = ()
    """Exceptions that mean: the participant said no and did nothing."""
    refusal_settles: bool = False
    """Whether a refusal answers for the whole step key, also for earlier attempts whose outcome is unknown; only an
    external participant can store one."""
    compensation_timeout: timedelta | None = None
    """As timeout, for the compensation."""
    compensation_retry: RetryPolicy | None = None
    """As retry, for the compensation."""
    compensation_refuses_on: tuple[type[Exception], ...] = ()
    """Exceptions that mean: this cannot be undone; the saga is held for a person."""
    verify_after: timedelta | None = None
    """When to run the compensation of an unsettled effect of an external step once more before it counts."""
    business_keys: tuple[tuple[str, str], ...] = ()
    """What its success adds to the business keys of the saga: pairs of a key's name and of the name of its value in the
    result."""
    name: str = ""
    """The name in the class body; set by the definition."""
    rank: int = 0
    """Steps of one rank may run at the same time; set by the definition."""
    position: int = 0
    """The place among all steps; set by the definition."""

    def __post_init__(self) -> None:
        """Check every option that does not need the whole definition.

        Raises: DefinitionError.
        """
        options.check_participant(self.participant)
        options.check_queue(self.queue)
        options.check_flag(self.external, "external")
        options.check_flag(self.refusal_settles, "refusal_settles")
        options.check_policy(self.retry, "retry")
        options.check_policy(self.compensation_retry, "compensation_retry")
        options.check_timeout(self.timeout, "timeout", is_local=not self.external)
        options.check_timeout(self.compensation_timeout, "compensation_timeout", is_local=not self.external)
        options.check_duration(self.verify_after, "verify_after")

    def function(self, direction: Direction) -> StepFunction | None:
        """Return the function that an attempt in this direction runs."""
        return self.action if direction is Direction.ACTION else self.compensation

    def refusals(self, direction: Direction) -> tuple[type[Exception], ...]:
        """Return the exceptions that count as a refusal in this direction."""
        return self.refuses_on if direction is Direction.ACTION else self.compensation_refuses_on

    def read_keys(self, result: Mapping[str, Any] | None) -> dict[str, str]:
        """Return the business keys in a result of the action.

        What is not there, is masked, or is no text or whole number of a key's length gives none: the step has happened
        all the same.
        """
        texts = {name: _text_of_key((result or {}).get(field_name)) for name, field_name in self.business_keys}
        return {name: text for name, text in texts.items() if text}


def _text_of_key(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str) or redactor.holds_mask(value):
        return ""
    text = str(value)
    return text if len(text) <= MAX_KEY_CHARS else ""


def nothing_to_undo(step: Any) -> None:
    """Undo nothing: the compensation of a step without side effects, such as a query or a quote."""


def Compensatable(  # noqa: N802 - reads like a field of a model
    action: StepFunction | None = None,
    compensation: StepFunction | None = None,
    *,
    participant: str | None = None,
    external: bool = False,
    queue: str | None = None,
    timeout: timedelta | None = None,
    retry: RetryPolicy | None = None,
    refuses_on: Iterable[type[Exception]] = (),
    refusal_settles: bool = False,
    compensation_timeout: timedelta | None = None,
    compensation_retry: RetryPolicy | None = None,
    compensation_refuses_on: Iterable[type[Exception]] = (),
    verify_after: timedelta | None = None,
    business_keys: Mapping[str, str] | None = None,
) -> Step:
    """Declare a step that can be undone.

    Without ``action`` the step was done together with the start of the saga, in the same transaction.
    Raises: DefinitionError when there is no compensation (``nothing_to_undo`` is one) or an option is malformed.
    """
    return Step(
        kind=Kind.COMPENSATABLE,
        action=options.check_function(action, "action", optional=True),
        compensation=options.check_function(compensation, "compensation", optional=False),
        participant=participant,
        external=external,
        queue=queue,
        timeout=timeout,
        retry=retry,
        refuses_on=options.check_exceptions(refuses_on, "refuses_on"),
        refusal_settles=refusal_settles,
        compensation_timeout=compensation_timeout,
        compensation_retry=compensation_retry,
        compensation_refuses_on=options.check_exceptions(compensation_refuses_on, "compensation_refuses_on"),
        verify_after=verify_after,
        business_keys=options.check_business_keys(business_keys, action),
    )


def Pivot(  # noqa: N802 - reads like a field of a model
    action: StepFunction,
    *,
    participant: str | None = None,
    external: bool = False,
    queue: str | None = None,
    timeout: timedelta | None = None,
    retry: RetryPolicy | None = None,
    refuses_on: Iterable[type[Exception]] = (),
    refusal_settles: bool = False,
    business_keys: Mapping[str, str] | None = None,
) -> Step:
    """Declare the go-or-no-go step: once it succeeded nothing is compensated any more."""
    return Step(
        kind=Kind.PIVOT,
        action=options.check_function(action, "action", optional=False),
        participant=participant,
        external=external,
        queue=queue,
        timeout=timeout,
        retry=retry,
        refuses_on=options.check_exceptions(refuses_on, "refuses_on"),
        refusal_settles=refusal_settles,
        business_keys=options.check_business_keys(business_keys, action),
    )


def Retriable(  # noqa: N802 - reads like a field of a model
    action: StepFunction,
    *,
    participant: str | None = None,
    external: bool = False,
    queue: str | None = None,
    timeout: timedelta | None = None,
    retry: RetryPolicy | None = None,
    refuses_on: Iterable[type[Exception]] = (),
    business_keys: Mapping[str, str] | None = None,
) -> Step:
    """Declare a step after the pivot, which must succeed in the end.

    ``refuses_on`` names what the participant would say if it could refuse after all: the saga is then held as a
    contract violation instead of being retried for ever.
    """
    return Step(
        kind=Kind.RETRIABLE,
        action=options.check_function(action, "action", optional=False),
        participant=participant,
        external=external,
        queue=queue,
        timeout=timeout,
        retry=retry,
        refuses_on=options.check_exceptions(refuses_on, "refuses_on"),
        business_keys=options.check_business_keys(business_keys, action),
    )


@dataclass(frozen=True, init=False)
class Parallel:
    """Steps of one kind that may run at the same time."""

    steps: Mapping[str, Step] = field(default_factory=dict)

    def __init__(self, **steps: Step) -> None:
        if len(steps) < 2:
            raise DefinitionError("Parallel needs at least two steps; a single one stands by itself.")
        for name, step in steps.items():
            if not isinstance(step, Step):
                raise DefinitionError(f"Parallel takes steps, but {name} is {step!r}; groups cannot be nested.")
            if step.kind is Kind.PIVOT:
                raise DefinitionError(f"{name}: the pivot cannot stand in a parallel group.")
            if step.action is None:
                raise DefinitionError(f"{name}: a step of a parallel group needs an action.")
        object.__setattr__(self, "steps", dict(steps))
