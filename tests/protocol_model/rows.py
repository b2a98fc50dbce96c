"""State of the model: rows of the engine, rows of the participants, and attempts in flight.

Everything is a tuple, so that states compare and hash by value. State, kind and outcome names are those of
``sagas.core.states``; ``test_protocol`` compares them.
"""

from collections.abc import Callable
from typing import NamedTuple

FORWARD = ("pending", "running")
CLOSED = ("completed", "compensated", "abandoned")
PASSED = ("succeeded", "skipped")
UNDOABLE = ("yes", "maybe")


class Spec(NamedTuple):
    """Declaration of one step."""

    name: str
    kind: str
    place: str
    """Where its effect is: ``engine`` (local, the engine's database), ``own`` (local, a database of its own) or
    ``provider`` (external)."""
    rank: int
    can_refuse: bool = False
    takes_stock: bool = False


class Model(NamedTuple):
    """Declaration of one saga, with its rules and the number of faults."""

    name: str
    steps: tuple[Spec, ...]
    rules: frozenset[str]
    faults: int
    """Total of crashes, lost leases, lost answers, outages and lost wake-ups."""
    attempts: int = 2
    """Budget of a step in each direction."""
    acts: int = 0
    """Number of operations that an operator may perform."""
    operations: tuple[str, ...] = ()
    """Operations that an operator may perform."""
    has_deadline: bool = False
    has_rival: bool = False
    """Whether a rival wants the last unit of stock."""
    can_close_keys: bool = True
    """Whether a void closes the key of its authorisation at the provider."""
    looks_twice: bool = False
    """Whether a compensation verifies before it uses its key, and runs once more before it counts."""
    may_lose_witness: bool = False
    """Whether the only worker that knows of a late effect may die, so that it is never found (see the page)."""


class Attempt(NamedTuple):
    """Row of one attempt."""

    direction: str
    epoch: int
    outcome: str = ""
    """Empty while it is live."""
    settles: bool = False
    is_assumed: bool = False


class Step(NamedTuple):
    """Row of one step."""

    state: str = "pending"
    hold: str = ""
    is_due: bool = False
    """Whether it has a due time; time is open, so that moment may always have passed."""
    token: int | None = None
    """The place of the live attempt among the attempts."""
    epoch: int = 0
    used: int = 0
    """Attempts counted against the current budget."""
    attempts: tuple[Attempt, ...] = ()
    seen: int = 0
    """Number of attempts at the last reported success; kept only where compensations verify."""


class Saga(NamedTuple):
    """Row of the saga with its steps."""

    steps: tuple[Step, ...]
    state: str = "pending"
    hold: str = ""
    abort: str = ""
    is_due: bool = True
    revision: int = 0
    """Counted within one write only: a form has to know whether something was decided, not how often."""
    left: tuple[int, ...] = ()
    """Steps whose effects an abandoned saga leaves behind."""


class Hand(NamedTuple):
    """Attempt held by a worker, from the claim to the record."""

    step: int
    direction: str
    token: int | None
    """None: chosen, and not yet claimed (only without the rule ``fresh claim``)."""
    epoch: int
    answer: str = ""
    """Empty until the participant was called."""
    seen: Saga | None = None
    """The saga as read before the lock (only without the rule ``lock``)."""
    stock: int | None = None
    """The stock as read before it is written (only without the rule ``conditional stock``)."""


class Site(NamedTuple):
    """Rows of a participant about one step."""

    standing: int = 0
    """Effects in force: units reserved, money held or captured."""
    did: int = 0
    undid: int = 0
    answers: tuple[tuple[str, str], ...] = ()
    """What was answered to each key; ``fenced`` for a tombstone or a closed key."""


class Form(NamedTuple):
    """Decision that an operator made on an earlier state and has not sent yet."""

    operation: str
    step: int
    is_current: bool = True


class State(NamedTuple):
    """Everything at one moment."""

    saga: Saga
    sites: tuple[Site, ...]
    hands: frozenset[Hand] = frozenset()
    form: Form | None = None
    stock: int = 1
    is_rival_served: bool = False
    is_overdue: bool = False
    is_woken: bool = True
    """Whether a wake-up waits; read only without the rule ``sweep``."""
    faults: int = 0
    acts: int = 0


class Move(NamedTuple):
    """Transition from one state to another."""

    kind: str
    """``step``: what goes on by itself; ``late``: of a worker that lost its lease; ``fault``; ``person``; ``time``."""
    label: str
    state: State
    hand: Hand | None = None


def start(model: Model) -> State:
    """Return the state right after the start of the saga committed."""
    count = len(model.steps)
    return State(saga=Saga(steps=(Step(),) * count), sites=(Site(),) * count, faults=model.faults, acts=model.acts)


def change_step(saga: Saga, index: int, change: Callable[[Step], Step]) -> Saga:
    """Return the saga with one step changed."""
    steps = list(saga.steps)
    steps[index] = change(steps[index])
    return saga._replace(steps=tuple(steps))


def is_held(saga: Saga) -> bool:
    """Return whether the saga or a step waits for an operator."""
    return bool(saga.hold) or any(step.hold for step in saga.steps)


def is_stale(saga: Saga, hand: Hand) -> bool:
    """Return whether the worker has lost its lease."""
    return saga.steps[hand.step].token != hand.token
