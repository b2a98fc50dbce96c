"""Saga definitions: classes that list steps, checked when their module is imported.

::

    class CheckoutSaga(SagaDefinition):
        reserve_stock = Compensatable(steps.reserve_stock, steps.release_stock, refuses_on=[OutOfStock])
        capture_payment = Pivot(steps.capture_payment, participant="payments", external=True)
        confirm_order = Retriable(steps.confirm_order)

        class Meta:
            name = "checkout"
            version = 1

Pure: no Django import. Queues and participants need the project, so system checks verify them.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from ...exceptions import DefinitionError
from ..states import Kind
from . import inputs, options
from .steps import Parallel, Step

STEP_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
STORED_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,59}")


class SagaDefinition:
    """Base of every saga definition; the class body lists its steps from top to bottom."""

    name: ClassVar[str]
    """The stored name, from Meta."""
    version: ClassVar[int]
    """The version that a running saga keeps, from Meta."""
    input: ClassVar[type | None]
    """The frozen dataclass of the input, or None, from Meta."""
    deadline: ClassVar[timedelta | None]
    """How long after the start the saga should be closed, or None, from Meta."""
    on_closed: ClassVar[options.HookFunction | None]
    """The hook that is called with one SagaClosed when a saga is closed, or None, from Meta."""
    steps: ClassVar[tuple[Step, ...]]
    """The steps in order."""
    digest: ClassVar[str]
    """SHA-256 of what running sagas depend on; see ``compute_digest``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        meta = cls.__dict__.get("Meta")
        if meta is not None and getattr(meta, "abstract", False):
            return
        _check_bases(cls)
        steps = tuple(_collect_steps(cls))
        for name in METHODS & vars(cls).keys():
            delattr(cls, name)  # a step may have this name; the inherited method stays
        _read_meta(cls, meta)
        cls.steps = steps
        _check_order(cls)
        cls.digest = compute_digest(cls)
        register(cls)

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
        """Return the pivot, or None when every step can be compensated."""
        return next((step for step in cls.steps if step.kind is Kind.PIVOT), None)


METHODS = frozenset({"step", "pivot"})
DEFINITIONS: dict[tuple[str, int], type[SagaDefinition]] = {}
"""Every definition by name and version; ``registry`` looks them up."""


def register(definition: type[SagaDefinition]) -> None:
    """Register a definition; importing the same class again replaces it.

    Raises: DefinitionError when another class has this name and version.
    """
    key = (definition.name, definition.version)
    known = DEFINITIONS.get(key)
    if known is not None and _path(known) != _path(definition):
        raise DefinitionError(
            f"{_path(definition)} and {_path(known)} are both saga {definition.name!r} version {definition.version};"
            " give one of them another name or version."
        )
    DEFINITIONS[key] = definition


def _path(definition: type[SagaDefinition]) -> str:
    return f"{definition.__module__}.{definition.__qualname__}"


def compute_digest(definition: type[SagaDefinition]) -> str:
    """Return the digest of what running sagas depend on.

    It covers names, kinds, order, groups, participants, local or external, whether there is an action, and the input
    schema; not time-outs, budgets, queues or code (rule S10).
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
    """Check that the class repeats every step of its base classes, because steps are not inherited."""
    for base in cls.__mro__[1:]:
        left = [name for name, value in vars(base).items() if isinstance(value, Step | Parallel)]
        if missing := [name for name in left if name not in vars(cls)]:
            raise DefinitionError(
                f"{cls.__module__}.{cls.__qualname__} does not repeat {', '.join(missing)} of {base.__qualname__}:"
                " steps are not inherited. Declare every step in the class itself."
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
        raise DefinitionError(f"{where}.on_closed: declare the hook in class Meta; no step may have this name.")
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
            raise DefinitionError(f"{where}: a step name must be a lower-case identifier of at most 60 characters.")
        if name in seen:
            raise DefinitionError(f"{where}: two steps have this name.")
        if not step.external and (step.refusal_settles or step.verify_after is not None):
            raise DefinitionError(
                f"{where}: refusal_settles and verify_after are for external steps; a local step's effect is known."
            )
        seen.add(name)
        yield replace(step, name=name, rank=rank, position=position)


def _check_order(cls: type[SagaDefinition]) -> None:
    if not cls.steps:
        raise DefinitionError(f"{cls.__qualname__} declares no steps.")
    pivots = [step for step in cls.steps if step.kind is Kind.PIVOT]
    if len(pivots) > 1:
        raise DefinitionError(f"{cls.__qualname__} has {len(pivots)} pivots; at most one is allowed.")
    passed = False
    for step in cls.steps:
        where = f"{cls.__qualname__}.{step.name}"
        if step.kind is Kind.PIVOT:
            passed = True
        elif step.kind is Kind.COMPENSATABLE and passed:
            raise DefinitionError(f"{where}: every step after the pivot must be retriable.")
        elif step.kind is Kind.RETRIABLE and not passed:
            raise DefinitionError(f"{where}: a retriable step needs a pivot before it.")
