"""Steps of a saga as they are declared: kinds, options and groups.

Source: Garcia-Molina and Salem, *Sagas* (1987); C. Richardson, *Microservices Patterns*, ch. 4 (step kinds). Pure:
no Django import.
"""

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
    """Declaration of one step."""

    kind: Kind
    """Compensatable, pivot or retriable."""
    action: StepFunction | None
    """The function that the step runs going forward; None when it is done together with the start of the saga."""
    compensation: StepFunction | None = None
    """The function that semantically undoes the action; finds the effect by step key, with or without its result."""
    participant: str | None = None
    """The label of the app that owns the data; None: the definition's own app."""
    external: bool = False
    """Whether the step calls something outside the project's databases; it then runs outside any transaction."""
    queue: str | None = None
    """The Celery queue whose workers run it; None: the project's default queue."""
    timeout: timedelta | None = None
    """The time-out of one attempt of the action; None: the project's default."""
    retry: RetryPolicy | None = None
    """Budget and delays of the action; None: the project's default."""
    refuses_on: tuple[type[Exception], ...] = ()
    """Exceptions that mean that the participant declined and did nothing."""
    refusal_settles: bool = False
    """Whether a refusal holds for the whole step key, also for earlier attempts whose outcome is unknown; only for
    external participants, which can store it."""
    compensation_timeout: timedelta | None = None
    """As timeout, for the compensation."""
    compensation_retry: RetryPolicy | None = None
    """As retry, for the compensation."""
    compensation_refuses_on: tuple[type[Exception], ...] = ()
    """Exceptions that mean that the action cannot be undone; the step is held for an operator."""
    verify_after: timedelta | None = None
    """The delay after which a compensation of an external step's unsettled effect runs again before it counts."""
    business_keys: tuple[tuple[str, str], ...] = ()
    """Business keys that its success adds to the saga: pairs of a key's name and of its value's name in the result."""
    name: str = ""
    """The name in the class body; set by the definition."""
    rank: int = 0
    """The rank; steps of one rank may run at the same time; set by the definition."""
    position: int = 0
    """The position among all steps; set by the definition."""

    def __post_init__(self) -> None:
        """Check every option that can be checked without the whole definition.

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
        """Return the function that an attempt in this direction executes."""
        return self.action if direction is Direction.ACTION else self.compensation

    def refusals(self, direction: Direction) -> tuple[type[Exception], ...]:
        """Return the exceptions that count as a refusal in this direction."""
        return self.refuses_on if direction is Direction.ACTION else self.compensation_refuses_on

    def read_keys(self, result: Mapping[str, Any] | None) -> dict[str, str]:
        """Return the business keys in a result of the action.

        A value that is missing, masked, too long, or neither text nor whole number gives no key: the step has succeeded
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
    """Do nothing: no-op compensation for a step without side effects, such as a query or a quote."""


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

    Without ``action`` the step is done together with the start of the saga, in the same transaction.
    Raises: DefinitionError when the compensation is missing (``nothing_to_undo`` is one) or an option is malformed.
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
    """Declare the go-or-no-go step: once it has succeeded, nothing is compensated any more."""
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

    ``refuses_on`` names exceptions by which the participant refuses after all: the step is then held as a contract
    violation instead of being retried forever.
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
            raise DefinitionError("Parallel needs at least two steps; declare a single one directly.")
        for name, step in steps.items():
            if not isinstance(step, Step):
                raise DefinitionError(f"Parallel takes steps, but {name} is {step!r}; groups cannot be nested.")
            if step.kind is Kind.PIVOT:
                raise DefinitionError(f"{name}: the pivot cannot be in a parallel group.")
            if step.action is None:
                raise DefinitionError(f"{name}: a step of a parallel group needs an action.")
        object.__setattr__(self, "steps", dict(steps))
