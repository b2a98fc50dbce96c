"""Declare a saga as a class body, and check it when the module is imported.

::

    class CheckoutSaga(SagaDefinition):
        reserve_stock = Compensatable(steps.reserve_stock, steps.release_stock, refuses_on=[OutOfStock])
        capture_payment = Pivot(steps.capture_payment, participant="payments", external=True)
        confirm_order = Retriable(steps.confirm_order)

        class Meta:
            name = "checkout"
            version = 1

Source: Garcia-Molina and Salem, *Sagas* (1987); C. Richardson, *Microservices Patterns*, ch. 4 (step kinds). Pure:
no Django import. What needs the project (queues, participants) is a system check.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar

from . import inputs, options, redaction, registry
from .exceptions import DefinitionError
from .retry import RetryPolicy
from .states import Direction, Kind

StepFunction = options.StepFunction
KEY_NAME, MAX_KEY_CHARS, QUEUE_NAME = options.KEY_NAME, options.MAX_KEY_CHARS, options.QUEUE_NAME
STEP_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
STORED_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,59}")


@dataclass(frozen=True, kw_only=True)
class Step:
    """Hold everything that is declared about one step."""

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
    if isinstance(value, bool) or not isinstance(value, int | str) or redaction.holds_mask(value):
        return ""
    text = str(value)
    return text if len(text) <= MAX_KEY_CHARS else ""


def nothing_to_undo(step: Any) -> None:
    """Be the compensation of a step that leaves nothing behind, such as a query or a quote."""


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
    """Group steps of one kind that may run at the same time."""

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


class SagaDefinition:
    """Be the base of every saga definition; the class body is the table of its steps, top to bottom."""

    name: ClassVar[str]
    """The stored name, from Meta."""
    version: ClassVar[int]
    """The version that a running saga keeps, from Meta."""
    input: ClassVar[type | None]
    """The frozen dataclass of the input, or None, from Meta."""
    deadline: ClassVar[timedelta | None]
    """How long after the start the saga should be over, or None, from Meta."""
    on_closed: ClassVar[options.HookFunction | None]
    """What is called with one SagaClosed when a saga is over, or None, from Meta."""
    steps: ClassVar[tuple[Step, ...]]
    """The steps in order."""
    digest: ClassVar[str]
    """SHA-256 over what a running saga depends on; see compute_digest."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        meta = cls.__dict__.get("Meta")
        if meta is not None and getattr(meta, "abstract", False):
            return
        _check_bases(cls)
        steps = tuple(_collect_steps(cls))
        for name in METHODS & vars(cls).keys():
            delattr(cls, name)  # a step may have this name, and the method is found all the same
        _read_meta(cls, meta)
        cls.steps = steps
        _check_order(cls)
        cls.digest = compute_digest(cls)
        registry.register(cls)

    @classmethod
    def step(cls, name: str) -> Step:
        """Return the step of this name.

        Raises: KeyError.
        """
        for step in cls.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    @classmethod
    def pivot(cls) -> Step | None:
        """Return the pivot, or None when everything can be compensated."""
        return next((step for step in cls.steps if step.kind is Kind.PIVOT), None)


METHODS = frozenset({"step", "pivot"})


def compute_digest(definition: type[SagaDefinition]) -> str:
    """Return the digest of what running sagas depend on.

    It covers names, kinds, order, groups, participants, local or external, and the input schema; not time-outs,
    budgets, queues or code (rule S10).
    """
    facts = {
        "name": definition.name,
        "steps": [
            [step.name, step.kind.value, step.rank, step.participant, step.external, step.action is not None]
            for step in definition.steps
        ],
        "input": inputs.describe(definition.input),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _check_bases(cls: type[SagaDefinition]) -> None:
    """Refuse to leave steps behind in a base class."""
    for base in cls.__mro__[1:]:
        left = [name for name, value in vars(base).items() if isinstance(value, Step | Parallel)]
        if missing := [name for name in left if name not in vars(cls)]:
            raise DefinitionError(
                f"{cls.__module__}.{cls.__qualname__} does not repeat {', '.join(missing)} of {base.__qualname__}:"
                " steps are not inherited. Write every step into the class, so that one body shows the whole saga."
            )


def _read_meta(cls: type[SagaDefinition], meta: type | None) -> None:
    where = f"{cls.__module__}.{cls.__qualname__}"
    if meta is None:
        raise DefinitionError(f"{where} needs a class Meta with at least a name (or abstract = True).")
    known = {"name", "version", "input", "deadline", "on_closed", "abstract"}
    if unknown := sorted(key for key in vars(meta) if not key.startswith("__") and key not in known):
        raise DefinitionError(
            f"{where}.Meta has unknown options: {', '.join(unknown)}; known are {', '.join(sorted(known))}."
        )
    name, version = getattr(meta, "name", None), getattr(meta, "version", 1)
    if not isinstance(name, str) or not STORED_NAME.fullmatch(name):
        raise DefinitionError(f"{where}.Meta.name must be a stored name such as 'checkout', not {name!r}.")
    if type(version) is not int or version < 1:
        raise DefinitionError(f"{where}.Meta.version must be a whole number from 1, not {version!r}.")
    cls.name, cls.version = name, version
    cls.input, cls.deadline = getattr(meta, "input", None), getattr(meta, "deadline", None)
    options.check_duration(cls.deadline, f"{where}.Meta.deadline", longest=options.MAX_DEADLINE)
    if "on_closed" in vars(cls):
        raise DefinitionError(f"{where}.on_closed: the hook stands in class Meta, and no step has this name.")
    cls.on_closed = options.check_hook(getattr(meta, "on_closed", None), f"{where}.Meta.on_closed")
    if cls.input is not None:
        inputs.check_schema(cls.input)


def _iterate_declared(cls: type[SagaDefinition]) -> Iterator[tuple[int, str, Step]]:
    rank = 0
    for name, value in vars(cls).items():
        if isinstance(value, Step):
            yield rank, name, value
        elif isinstance(value, Parallel):
            yield from ((rank, inner, step) for inner, step in value.steps.items())
        else:
            continue
        rank += 1


def _collect_steps(cls: type[SagaDefinition]) -> Iterator[Step]:
    seen: set[str] = set()
    for position, (rank, name, step) in enumerate(_iterate_declared(cls)):
        where = f"{cls.__qualname__}.{name}"
        if not STEP_NAME.fullmatch(name):
            raise DefinitionError(f"{where}: a step name is a lower-case identifier of at most 60 characters.")
        if name in seen:
            raise DefinitionError(f"{where}: two steps have this name.")
        if not step.external and (step.refusal_settles or step.verify_after is not None):
            raise DefinitionError(
                f"{where}: refusal_settles and verify_after are for external steps; what a local one did is known."
            )
        seen.add(name)
        yield replace(step, name=name, rank=rank, position=position)


def _check_order(cls: type[SagaDefinition]) -> None:
    if not cls.steps:
        raise DefinitionError(f"{cls.__qualname__} declares no steps.")
    pivots = [step for step in cls.steps if step.kind is Kind.PIVOT]
    if len(pivots) > 1:
        raise DefinitionError(f"{cls.__qualname__} has {len(pivots)} pivots; at most one can decide.")
    passed = False
    for step in cls.steps:
        where = f"{cls.__qualname__}.{step.name}"
        if step.kind is Kind.PIVOT:
            passed = True
        elif step.kind is Kind.COMPENSATABLE and passed:
            raise DefinitionError(f"{where}: after the pivot every step is retriable.")
        elif step.kind is Kind.RETRIABLE and not passed:
            raise DefinitionError(f"{where}: a retriable step needs a pivot before it.")
