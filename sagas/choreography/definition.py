"""Declaration of choreographies: which event is expected after which, by whom, and for how long it may be owed.

::

    class CheckoutEvents(ChoreographyDefinition):
        payment = Expected(
            after=[OrderCreated], success=[PaymentCompleted], refusal=[PaymentFailed], undone=[PaymentRefunded]
        )
        confirmation = Expected(after=[PaymentCompleted], success=[OrderConfirmed], is_pivot=True)

        class Meta:
            name = "checkout-events"
            begins_with = OrderCreated
            cancelled_by = OrderCancelled
            limit = timedelta(minutes=5)
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from django.utils.module_loading import import_string

from ..core.definition import options
from ..core.definition.registry import all_definitions
from ..core.definition.saga import DEFINITIONS, STEP_NAME, STORED_NAME, SagaDefinition
from ..core.states import Kind
from ..events import catalogue
from ..events.declaration import find_type, type_of
from ..events.settings import get_event_settings
from ..exceptions import DefinitionError
from .owed import Rules, StepRule

AskFunction = Callable[[str], Any]
DEFAULT_LIMIT = timedelta(minutes=5)


@dataclass(frozen=True)
class Expected:
    """Step of a choreography: after which events its answer is owed, and what the answers are."""

    after: Iterable[type] = field(kw_only=True)
    """Events that begin it: its answer is owed once all of them are recorded."""
    success: Iterable[type] = field(kw_only=True)
    """Its good answer: all of these events."""
    refusal: Iterable[type] = field(default=(), kw_only=True)
    """Its other answers: any of these events; the cancelling event is owed then."""
    undone: Iterable[type] = field(default=(), kw_only=True)
    """What undoes it once the saga is cancelled: all of these events. Empty: there is nothing to undo."""
    is_pivot: bool = field(default=False, kw_only=True)
    """Whether it is the decision: nothing is undone once it succeeded."""
    limit: timedelta | None = field(default=None, kw_only=True)
    """How long its events may be owed; None: the definition's limit."""


@dataclass(frozen=True, kw_only=True)
class ExpectedStep:
    """Step as it is stored."""

    name: str
    position: int
    kind: Kind
    limit: timedelta
    rule: StepRule

    @property
    def participant(self) -> str:
        """App label of the participant that answers: the sender of its events."""
        declared = find_type(self.rule.success[0])
        return catalogue.sender_of(declared) if declared is not None else ""


class ChoreographyDefinition:
    """Base of every choreography; the class body lists its steps from top to bottom."""

    name: ClassVar[str]
    """The stored name, from Meta."""
    version: ClassVar[int]
    """The version that a running saga keeps, from Meta."""
    steps: ClassVar[tuple[ExpectedStep, ...]]
    """The steps in order."""
    begins_with: ClassVar[str]
    """Stored name of the event that begins it."""
    cancelled_by: ClassVar[str]
    """Stored name of the event that cancels it, owed by its sender after any refusal."""
    limit: ClassVar[timedelta]
    """How long an event may be owed."""
    deadline: ClassVar[timedelta | None]
    """How long after the start the deciding participant is asked to cancel, or None."""
    on_deadline: ClassVar[AskFunction | str | None]
    """Function, or its dotted path, that asks the deciding participant to cancel, by the saga's key."""
    on_cancel: ClassVar[AskFunction | str | None]
    """The same for an operator's or a customer's cancel."""
    on_overdue: ClassVar[AskFunction | str | None]
    """The same, called while an effect that was reported is not undone within its limit: what undoes it may be lost."""
    digest: ClassVar[str]
    """SHA-256 of what running sagas depend on."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _read_meta(cls)
        cls.steps = tuple(_collect_steps(cls))
        _check_order(cls)
        facts = [cls.name, cls.begins_with, cls.cancelled_by, [asdict(step.rule) for step in cls.steps]]
        cls.digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        _register(cls)

    @classmethod
    def rules(cls) -> Rules:
        """Return what is expected of whom, by the catalogue as it is now."""
        senders = {name: _sender_of(name) for name in cls.list_events()}
        sends = get_event_settings().foreign_sends
        return Rules(
            steps=tuple(step.rule for step in cls.steps),
            begins_with=cls.begins_with,
            cancelled_by=cls.cancelled_by,
            senders=senders,
            unsent=frozenset(
                name for name, sender in senders.items() if not catalogue.is_local(sender) and name not in sends
            ),
        )

    @classmethod
    def list_events(cls) -> list[str]:
        """Return the stored names of all its events, in the order of the steps."""
        found = [cls.begins_with]
        for step in cls.steps:
            found += [*step.rule.success, *step.rule.refusal, *step.rule.undone]
        return list(dict.fromkeys([*found, cls.cancelled_by]))

    @classmethod
    def step(cls, name: str) -> ExpectedStep:
        """Return the step of this name.

        Raises: KeyError.
        """
        for step in cls.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    @classmethod
    def decider(cls) -> str:
        """Return the app label of the participant that decides: the sender of the cancelling event."""
        return _sender_of(cls.cancelled_by)


CHOREOGRAPHIES: dict[tuple[str, int], type[ChoreographyDefinition]] = {}


def find(name: str, version: int) -> type[ChoreographyDefinition] | None:
    """Return a choreography, or None when the code has none of this name and version."""
    return CHOREOGRAPHIES.get((name, version))


def all_choreographies() -> list[type[ChoreographyDefinition]]:
    """Return every choreography, ordered by name and version."""
    return [CHOREOGRAPHIES[key] for key in sorted(CHOREOGRAPHIES)]


def list_known() -> list[type[SagaDefinition] | type[ChoreographyDefinition]]:
    """Return the definitions of both styles, ordered by name and version."""
    return sorted([*all_definitions(), *all_choreographies()], key=lambda known: (known.name, known.version))


def forget(name: str, version: int) -> None:
    """Remove a choreography, as if the code did not have it; for tests."""
    CHOREOGRAPHIES.pop((name, version), None)


def resolve(function: AskFunction | str) -> AskFunction:
    """Return a function that is given as such or by its dotted path.

    Raises: ImportError.
    """
    found: AskFunction = import_string(function) if isinstance(function, str) else function
    return found


def _sender_of(name: str) -> str:
    declared = find_type(name)
    return catalogue.sender_of(declared) if declared is not None else ""


def _read_meta(cls: type[ChoreographyDefinition]) -> None:
    meta, where = cls.__dict__.get("Meta"), f"{cls.__module__}.{cls.__qualname__}"
    known = {
        "name", "version", "begins_with", "cancelled_by", "limit", "deadline", "on_deadline", "on_cancel", "on_overdue",
    }  # fmt: skip
    given = {key: value for key, value in vars(meta).items() if not key.startswith("__")} if meta else {}
    if unknown := sorted(set(given) - known):
        raise DefinitionError(
            f"{where}.Meta has unknown options: {', '.join(unknown)}; known are {', '.join(sorted(known))}."
        )
    if missing := [key for key in ("name", "begins_with", "cancelled_by") if key not in given]:
        raise DefinitionError(f"{where} needs a class Meta with {', '.join(missing)}.")
    name, version = given["name"], given.get("version", 1)
    if not isinstance(name, str) or not STORED_NAME.fullmatch(name):
        raise DefinitionError(f"{where}.Meta.name must be a stored name such as 'checkout-events', not {name!r}.")
    if type(version) is not int or version < 1:
        raise DefinitionError(f"{where}.Meta.version must be a whole number from 1, not {version!r}.")
    cls.name, cls.version = name, version
    cls.begins_with, cls.cancelled_by = type_of(given["begins_with"]).name, type_of(given["cancelled_by"]).name
    cls.limit, cls.deadline = given.get("limit") or DEFAULT_LIMIT, given.get("deadline")
    options.check_duration(cls.limit, f"{where}.Meta.limit")
    options.check_duration(cls.deadline, f"{where}.Meta.deadline", longest=options.MAX_DEADLINE)
    cls.on_deadline = _check_ask(given.get("on_deadline"), f"{where}.Meta.on_deadline")
    cls.on_cancel = _check_ask(given.get("on_cancel"), f"{where}.Meta.on_cancel")
    cls.on_overdue = _check_ask(given.get("on_overdue"), f"{where}.Meta.on_overdue")
    if cls.deadline is not None and cls.on_deadline is None:
        raise DefinitionError(f"{where}.Meta.deadline needs on_deadline: the function that asks to cancel then.")


def _check_ask(value: Any, option: str) -> AskFunction | str | None:
    """Return a function or a dotted path, once checked; a path is resolved when it is called."""
    if value is None or callable(value) or (isinstance(value, str) and "." in value):
        return value  # type: ignore[no-any-return]
    raise DefinitionError(f"{option} must be a function that takes the saga's key, or its dotted path, not {value!r}.")


def _collect_steps(cls: type[ChoreographyDefinition]) -> Iterable[ExpectedStep]:
    declared = [(name, value) for name, value in vars(cls).items() if isinstance(value, Expected)]
    pivots = [position for position, (_, expected) in enumerate(declared) if expected.is_pivot]
    if len(pivots) != 1:
        raise DefinitionError(f"{cls.__qualname__} has {len(pivots)} pivots; exactly one step decides.")
    for position, (name, expected) in enumerate(declared):
        if not STEP_NAME.fullmatch(name):
            raise DefinitionError(
                f"{cls.__qualname__}.{name}: a step name must be a lower-case identifier of at most 60 characters."
            )
        options.check_duration(expected.limit, f"{cls.__qualname__}.{name}.limit")
        is_before = position < pivots[0]
        kind = Kind.PIVOT if expected.is_pivot else Kind.COMPENSATABLE if is_before else Kind.RETRIABLE
        yield ExpectedStep(
            name=name,
            position=position,
            kind=kind,
            limit=expected.limit or cls.limit,
            rule=StepRule(
                name=name, after=_names(expected.after), success=_names(expected.success),
                refusal=_names(expected.refusal), undone=_names(expected.undone), is_pivot=expected.is_pivot,
                is_undoable=is_before,
            ),
        )  # fmt: skip


def _names(events: Iterable[type]) -> tuple[str, ...]:
    return tuple(type_of(one).name for one in events)


def _check_order(cls: type[ChoreographyDefinition]) -> None:
    """Check that every step is reached from the beginning, and that nothing is refused or undone after the pivot."""
    reached, sent = {cls.begins_with}, {cls.begins_with, cls.cancelled_by}
    for step in cls.steps:
        rule, where = step.rule, f"{cls.__qualname__}.{step.name}"
        if not rule.success or not rule.after:
            raise DefinitionError(f"{where} needs events in both after and success.")
        if unknown := [name for name in rule.after if name not in reached]:
            raise DefinitionError(f"{where} comes after {unknown[0]}, which no step above it sends.")
        if twice := [name for name in (*rule.success, *rule.refusal, *rule.undone) if name in sent]:
            raise DefinitionError(f"{where} names {twice[0]}, which is expected elsewhere already.")
        if step.kind is not Kind.COMPENSATABLE and (rule.refusal or rule.undone):
            raise DefinitionError(f"{where}: the pivot and what follows it can neither be refused nor undone.")
        reached |= {*rule.success}
        sent |= {*rule.success, *rule.refusal, *rule.undone}


def _register(cls: type[ChoreographyDefinition]) -> None:
    key, path = (cls.name, cls.version), f"{cls.__module__}.{cls.__qualname__}"
    known: Any = CHOREOGRAPHIES.get(key) or DEFINITIONS.get(key)
    if known is not None and f"{known.__module__}.{known.__qualname__}" != path:
        raise DefinitionError(
            f"{path} and {known.__module__}.{known.__qualname__} are both saga {cls.name!r} version {cls.version};"
            " give one of them another name or version."
        )
    CHOREOGRAPHIES[key] = cls
