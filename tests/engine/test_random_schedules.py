"""Any small definition, any endings, any interference: the invariants hold after every move, and everything ends.

The virtual clock jumps, workers crash, freeze and thaw, operators interfere. The examples are the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sagas import (
    InProgress,
    Misconfigured,
    OutcomeUnknown,
    Parallel,
    RetryLater,
    RetryPolicy,
    clock,
    operations,
    perform,
)
from sagas.engine import _record
from sagas.exceptions import OperationRefused
from sagas.models import Saga, SagaStep
from sagas.outcomes import Report
from sagas.perform import Claimed
from sagas.rules import Operation
from sagas.states import Direction, Hold
from sagas.testing import SimulatedCrash, drain, find_violations, pass_time
from sagas.testing.drain import look, read
from sagas.transcript import render

from .frozen import _run_of
from .world import ACTION, COMPENSATION, OPERATOR, After, Broken, CannotUndo, Refused, World, begin, define

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.usefixtures("ledgers")]

TEXT = "because the test wants it"
LOCAL, APART, EXTERNAL, APART_EXTERNAL = range(4)
FREEZE_BEFORE, FREEZE_AFTER = "freeze before the call", "freeze after the call"

ENDINGS: dict[str, Any] = {
    "ok": None,
    "retry": RetryLater(),
    "unknown": OutcomeUnknown(),
    "broken": Broken(),
    "broken after": After(Broken()),
    "in progress": InProgress(poll_after=3),
    "misconfigured": Misconfigured(),
    "crash before": SimulatedCrash(),
    "crash after": After(SimulatedCrash()),
    "unstorable": {"x": object()},
    FREEZE_BEFORE: FREEZE_BEFORE,
    FREEZE_AFTER: FREEZE_AFTER,
}
ACTION_ENDINGS = [*ENDINGS, "refused", "refused"]
COMPENSATION_ENDINGS = [*ENDINGS, "cannot undo"]
MARKS = (Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED, Operation.MARK_COMPENSATED, Operation.SKIP)
CALM = (Operation.RETRY, Operation.PAUSE, Operation.RESUME, Operation.CANCEL, Operation.COMPENSATE)


@dataclass(frozen=True)
class Shape:
    """Describe one step of a random definition."""

    name: str
    place: int
    attempts: int
    settles: bool
    forward: tuple[str, ...]
    back: tuple[str, ...]


@st.composite
def shapes(draw: Any, name: str) -> Shape:
    """Draw a step."""
    place = draw(st.integers(0, 3))
    return Shape(
        name=name,
        place=place,
        attempts=draw(st.integers(1, 3)),
        settles=place >= EXTERNAL and draw(st.booleans()),
        forward=tuple(draw(st.lists(st.sampled_from(ACTION_ENDINGS), max_size=3))),
        back=tuple(draw(st.lists(st.sampled_from(COMPENSATION_ENDINGS), max_size=3))),
    )


@st.composite
def plans(draw: Any) -> tuple[list[list[Shape]], int | None]:
    """Draw the ranks of a definition, and which one is the pivot, if any."""
    sizes = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=1, max_size=4))
    pivot = draw(st.none() | st.integers(0, len(sizes) - 1))
    ranks = [
        [draw(shapes(f"s{number}{letter}")) for letter in "abc"[: 1 if number == pivot else size]]
        for number, size in enumerate(sizes)
    ]
    return ranks, pivot


EVENTS = st.lists(
    st.one_of(
        st.just(("look", 0)),
        st.just(("look", 0)),
        st.just(("due", 0)),
        st.tuples(st.just("time"), st.sampled_from([1, 31, 100])),
        st.tuples(st.just("thaw"), st.integers(0, 5)),
        st.tuples(st.sampled_from(CALM), st.integers(0, 8)),
        st.tuples(st.sampled_from(MARKS), st.integers(0, 8)),
    ),
    max_size=14,
)


@dataclass
class Play:
    """Run one example."""

    world: World
    ranks: list[list[Shape]]
    pivot: int | None
    frozen: list[tuple[Claimed, Report | None]] = field(default_factory=list)
    has_marks: bool = False

    def declare(self, deadline: timedelta | None) -> Any:
        """Declare the definition, and script its endings."""
        steps: dict[str, Any] = {}
        for number, rank in enumerate(self.ranks):
            declared = {shape.name: self._step(number, shape) for shape in rank}
            steps.update(declared if len(declared) == 1 else {f"group{number}": Parallel(**declared)})
            for shape in rank:
                self.world.will(shape.name, *(self._ending(shape, name, ACTION) for name in shape.forward))
                back = (self._ending(shape, name, COMPENSATION) for name in shape.back)
                self.world.will(shape.name, *back, direction=COMPENSATION)
        return define("random", deadline=deadline, **steps)

    def _step(self, number: int, shape: Shape) -> Any:
        options: dict[str, Any] = {
            "participant": "inventory" if shape.place in (APART, APART_EXTERNAL) else None,
            "external": shape.place >= EXTERNAL,
            "retry": RetryPolicy(attempts=shape.attempts, max_elapsed=30),
            "refuses_on": [Refused],
        }
        if self.pivot is None or number < self.pivot:
            back = RetryPolicy(attempts=shape.attempts, after_budget=60)
            return self.world.compensatable(**options, refusal_settles=shape.settles, compensation_retry=back)
        if number == self.pivot:
            return self.world.pivot(**options, refusal_settles=shape.settles)
        return self.world.retriable(**options)

    def _ending(self, shape: Shape, name: str, direction: Direction) -> Any:
        if name == "refused":
            return Refused()
        if name == "cannot undo":
            return CannotUndo()
        if name in (FREEZE_BEFORE, FREEZE_AFTER) and shape.place == LOCAL:
            return SimulatedCrash() if name == FREEZE_BEFORE else After(SimulatedCrash())
        return ENDINGS[name]

    def freeze(self, claimed: Claimed) -> Report:
        """Perform, unless the script lets this worker freeze."""
        plan = self.world.plans[claimed.step.name, claimed.direction]
        wish = plan[0] if plan else None
        if wish not in (FREEZE_BEFORE, FREEZE_AFTER):
            return _perform(claimed)
        plan.popleft()
        report = _perform(claimed) if wish == FREEZE_AFTER else None
        self.frozen.append((claimed, report))
        raise SimulatedCrash

    def thaw(self, number: int) -> None:
        """Let a frozen worker go on."""
        if not self.frozen:
            return
        claimed, report = self.frozen.pop(number % len(self.frozen))
        with suppress(SimulatedCrash):
            _record(_run_of(claimed), claimed, report or perform.perform(claimed))

    def happen(self, saga: Saga, what: Any, number: int) -> None:
        """Let one event happen."""
        if what == "look":
            look(saga.pk)
        elif what == "due":
            pass_time(until_due=read(saga.pk))
        elif what == "time":
            pass_time(timedelta(seconds=number))
        elif what == "thaw":
            self.thaw(number)
        else:
            self.operate(saga, Operation(what), number)

    def operate(self, saga: Saga, operation: Operation, number: int) -> None:
        """Let a person act, if he may."""
        names = [shape.name for rank in self.ranks for shape in rank]
        arguments: dict[str, Any] = {"actor": OPERATOR, "reason": TEXT}
        if operation in MARKS:
            arguments["step"] = names[number % len(names)]
            if operation is not Operation.SKIP:
                arguments["evidence"] = TEXT
        with suppress(OperationRefused):
            operations.perform_operation(operation, saga.pk, **arguments)
            self.has_marks = self.has_marks or operation in MARKS

    def finish(self, saga: Saga) -> Saga:
        """Thaw what is frozen, drain, and clear every hold as a person would, until the saga is closed."""
        for _ in range(30):
            while self.frozen:
                self.thaw(0)
            saga = drain(saga, patience=timedelta(days=1))
            if saga.closed_at is not None and not self.frozen:
                return saga
            self.clear(saga)
        raise AssertionError(f"never ended: {saga.state}, {saga.hold}, {saga.attention}")

    def clear(self, saga: Saga) -> None:
        """Do what a person does about a hold."""
        if saga.hold == Hold.PAUSED:
            operations.resume(saga.pk, actor=OPERATOR, reason=TEXT)
            return
        held = SagaStep.objects.filter(saga_id=saga.pk, hold__isnull=False).first()
        if held is None:
            return
        if held.kind == "pivot" and held.state == "refused":
            operations.abandon(saga.pk, actor=OPERATOR, reason=TEXT)
        else:
            operations.retry_now(saga.pk, actor=OPERATOR, reason=TEXT, step=held.name)

    def assert_world(self, saga: Saga) -> None:
        """Check what is left in the world."""
        for shape in (shape for rank in self.ranks for shape in rank):
            participant = "inventory" if shape.place in (APART, APART_EXTERNAL) else None
            done, undone = (
                self.world.count(saga, shape.name, what, participant=participant) for what in ("done", "undone")
            )
            left = f"{shape.name}: {done} done, {undone} undone\n{self.ranks}\n{render(saga.pk)}"
            assert done <= 1 or shape.place >= EXTERNAL, left
            # A person's word may differ from the world; and a call that arrives late where no key can be closed, and
            # whose answer is lost too, is the one thing that nobody can know.
            is_certain = self.world.closes_keys or shape.place < EXTERNAL
            if is_certain and not self.has_marks and saga.state != "abandoned":
                assert done - undone == (1 if saga.state == "completed" else 0), left


_perform = perform.perform


@contextmanager
def freezing(play: Play) -> Iterator[None]:
    """Let scripted workers freeze."""
    perform.perform = play.freeze
    try:
        yield
    finally:
        perform.perform = _perform


@settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(plan=plans(), events=EVENTS, deadline=st.sampled_from([None, None, 20, 200]), closes_keys=st.booleans())
def test_invariants_hold_after_every_move_and_everything_ends(
    inventory_apart: str,
    plan: tuple[list[list[Shape]], int | None],
    events: list[Any],
    deadline: int | None,
    closes_keys: bool,
) -> None:
    play = Play(World(closes_keys=closes_keys), *plan)
    with clock.restored(), freezing(play):
        saga = begin(play.declare(timedelta(seconds=deadline) if deadline else None))
        for what, number in events:
            play.happen(saga, what, number)
            assert find_violations(saga.pk) == [], (what, number)
        saga = play.finish(saga)
        assert find_violations(saga.pk) == []
        play.assert_world(saga)
