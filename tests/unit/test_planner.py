"""Planner: the next transition for each situation of a saga (S3, S5, S6, S7, I3 to I6)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sagas.core.planner import (
    Claim,
    Plan,
    SagaView,
    StepMove,
    StepView,
    after_action,
    after_compensation,
    is_pivot_open,
    needs_effects,
    plan,
)
from sagas.core.states import (
    AbortRequest,
    Attention,
    Direction,
    Effect,
    Hold,
    Kind,
    Outcome,
    SagaState,
    StepState,
    WaitingFor,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
EARLIER, LATER, LATEST = NOW - timedelta(seconds=1), NOW + timedelta(seconds=5), NOW + timedelta(seconds=30)
C, P, R = Kind.COMPENSATABLE, Kind.PIVOT, Kind.RETRIABLE
PENDING, RUNNING, WAITING, UNKNOWN, SUCCEEDED, REFUSED, SKIPPED, COMPENSATING, COMPENSATED = StepState
NONE, MAYBE, YES, REMOVED = Effect
FORWARD, BACK = Direction


def step(name: str, rank: int, state: StepState, kind: Kind = C, **more: object) -> StepView:
    if state is RUNNING:
        more.setdefault("lease_until", LATEST)
    return StepView(name=name, rank=rank, kind=kind, state=state, **more)


def running(*steps: StepView, **more: object) -> SagaView:
    return SagaView(state=SagaState.RUNNING, steps=steps, **more)


def turned(*steps: StepView, **more: object) -> SagaView:
    return SagaView(state=SagaState.COMPENSATING, steps=steps, **more)


def act(*names: str) -> tuple[Claim, ...]:
    return tuple(Claim(step=name, direction=FORWARD) for name in names)


def undo(*names: str) -> tuple[Claim, ...]:
    return tuple(Claim(step=name, direction=BACK) for name in names)


DONE = step("a", 0, SUCCEEDED)
FORWARDS = {
    "the first step is due at once": (
        running(step("a", 0, PENDING), step("b", 1, PENDING)),
        Plan(claims=act("a"), due_at=NOW),
    ),
    "the next step is due when the one before succeeded": (
        running(DONE, step("b", 1, PENDING)),
        Plan(claims=act("b"), due_at=NOW),
    ),
    "a skipped step is passed, too": (
        running(step("a", 0, SKIPPED), step("b", 1, PENDING)),
        Plan(claims=act("b"), due_at=NOW),
    ),
    "a live step is watched until its lease ends": (
        running(step("a", 0, RUNNING), step("b", 1, PENDING)),
        Plan(due_at=LATEST),
    ),
    "a waiting step is claimed when due": (
        running(step("a", 0, WAITING, due_at=NOW)),
        Plan(claims=act("a"), due_at=NOW),
    ),
    "a waiting step is not claimed a moment before": (
        running(step("a", 0, WAITING, due_at=NOW + timedelta(microseconds=1))),
        Plan(due_at=NOW + timedelta(microseconds=1)),
    ),
    "an unknown step is asked again when due": (
        running(step("a", 0, UNKNOWN, due_at=EARLIER)),
        Plan(claims=act("a"), due_at=EARLIER),
    ),
    "a held step waits for a person": (running(step("a", 0, WAITING, hold=Hold.MISCONFIGURED)), Plan()),
    "a held saga claims nothing": (running(step("a", 0, PENDING), hold=Hold.PAUSED), Plan()),
    "a held saga watches its live step": (running(step("a", 0, RUNNING), hold=Hold.PAUSED), Plan(due_at=LATEST)),
    "a group is claimed side by side": (
        running(step("a", 0, PENDING), step("b", 0, PENDING), step("c", 1, PENDING)),
        Plan(claims=act("a", "b"), due_at=NOW),
    ),
    "a group goes on beside a live sibling": (
        running(step("a", 0, RUNNING), step("b", 0, PENDING), step("c", 1, PENDING)),
        Plan(claims=act("b"), due_at=NOW),
    ),
    "a group goes on beside a held sibling": (
        running(step("a", 0, WAITING, hold=Hold.MISCONFIGURED), step("b", 0, WAITING, due_at=LATER)),
        Plan(due_at=LATER),
    ),
    "the rank after a group waits for its last step": (
        running(step("a", 0, SUCCEEDED), step("b", 0, RUNNING), step("c", 1, PENDING)),
        Plan(due_at=LATEST),
    ),
    "the earliest of several times counts": (
        running(step("a", 0, WAITING, due_at=LATER), step("b", 0, RUNNING)),
        Plan(due_at=LATER),
    ),
    "nothing left completes": (running(DONE, step("b", 1, SKIPPED)), Plan(close=SagaState.COMPLETED)),
    "nothing left completes a paused saga, too": (running(DONE, hold=Hold.PAUSED), Plan(close=SagaState.COMPLETED)),
    "a refused retriable step is held, not passed": (
        running(step("p", 0, SUCCEEDED, P), step("r", 1, REFUSED, R, hold=Hold.CONTRACT_VIOLATION)),
        Plan(),
    ),
    "the pivot is claimed like any step": (running(DONE, step("p", 1, PENDING, P)), Plan(claims=act("p"), due_at=NOW)),
}


@pytest.mark.parametrize("case", FORWARDS)
def test_forward(case: str) -> None:
    view, expected = FORWARDS[case]
    assert not needs_effects(view)
    assert plan(view, {}, NOW) == expected


@pytest.mark.parametrize("case", FORWARDS)
def test_pending_saga_is_planned_like_a_running_one(case: str) -> None:
    view, expected = FORWARDS[case]
    assert plan(replace(view, state=SagaState.PENDING), {}, NOW) == expected


CANCELLED = {"abort_request": AbortRequest.CANCEL}
GRANTED, DROPPED = Plan(turn_back=True), Plan(drop_abort=True)
ABORTS = {
    "before anything ran": (running(step("a", 0, PENDING), **CANCELLED), {}, GRANTED),
    "while a step is live": (running(step("a", 0, RUNNING), **CANCELLED), {"a": MAYBE}, GRANTED),
    "while a step waits for a retry": (running(step("a", 0, WAITING, due_at=LATER), **CANCELLED), {}, GRANTED),
    "while a step is unknown": (running(step("a", 0, UNKNOWN, due_at=LATER), **CANCELLED), {"a": MAYBE}, GRANTED),
    "before the pivot is claimed": (running(DONE, step("p", 1, PENDING, P), **CANCELLED), {"a": YES}, GRANTED),
    "while the pivot waits without an effect": (
        running(DONE, step("p", 1, WAITING, P, due_at=LATER), **CANCELLED),
        {"a": YES, "p": NONE},
        GRANTED,
    ),
    "while the pivot is live": (running(step("p", 0, RUNNING, P), **CANCELLED), {"p": MAYBE}, Plan(due_at=LATEST)),
    "while the pivot is unknown it is asked on": (
        running(step("p", 0, UNKNOWN, P, due_at=EARLIER), **CANCELLED),
        {"p": MAYBE},
        Plan(claims=act("p"), due_at=EARLIER),
    ),
    "while the pivot waits and may have happened": (
        running(step("p", 0, WAITING, P, due_at=LATER), **CANCELLED),
        {"p": MAYBE},
        Plan(due_at=LATER),
    ),
    "while the pivot is held as unknown": (
        running(step("p", 0, UNKNOWN, P, hold=Hold.OUTCOME_UNKNOWN), **CANCELLED),
        {"p": MAYBE},
        Plan(),
    ),
    "after the pivot": (
        running(step("p", 0, SUCCEEDED, P), step("r", 1, PENDING, R), **CANCELLED),
        {"p": YES},
        DROPPED,
    ),
    "on a paused saga it is remembered": (running(step("a", 0, PENDING), hold=Hold.PAUSED, **CANCELLED), {}, Plan()),
    "on a held step it is remembered": (
        running(step("a", 0, WAITING, hold=Hold.MISCONFIGURED), **CANCELLED),
        {},
        Plan(),
    ),
    "on a paused saga whose last step ended it is remembered": (
        running(DONE, hold=Hold.PAUSED, **CANCELLED),
        {"a": YES},
        Plan(),
    ),
    "when the last step has ended and no pivot forbids it": (running(DONE, **CANCELLED), {"a": YES}, GRANTED),
    "beside a held sibling nothing is begun": (
        running(step("a", 0, WAITING, hold=Hold.MISCONFIGURED), step("b", 0, PENDING), **CANCELLED),
        {},
        Plan(),
    ),
    "beside a held sibling nothing is asked again": (
        running(step("a", 0, WAITING, hold=Hold.MISCONFIGURED), step("b", 0, UNKNOWN, due_at=EARLIER), **CANCELLED),
        {"b": MAYBE},
        Plan(),
    ),
    "beside a held sibling a live step is watched": (
        running(step("a", 0, WAITING, hold=Hold.MISCONFIGURED), step("b", 0, RUNNING), **CANCELLED),
        {"b": MAYBE},
        Plan(due_at=LATEST),
    ),
}


@pytest.mark.parametrize("case", ABORTS)
@pytest.mark.parametrize("request_kind", AbortRequest)
def test_s7_abort(case: str, request_kind: AbortRequest) -> None:
    view, effects, expected = ABORTS[case]
    assert needs_effects(view)
    assert plan(replace(view, abort_request=request_kind), effects, NOW) == expected


BACKWARDS = {
    "the last effect is undone first": (
        turned(step("a", 0, SUCCEEDED), step("b", 1, SUCCEEDED), step("c", 2, REFUSED)),
        {"a": YES, "b": YES, "c": NONE},
        Plan(claims=undo("b"), due_at=NOW),
    ),
    "the one before when that is removed": (
        turned(step("a", 0, SUCCEEDED), step("b", 1, COMPENSATED)),
        {"a": YES, "b": REMOVED},
        Plan(claims=undo("a"), due_at=NOW),
    ),
    "a step that may have happened is undone": (
        turned(step("a", 0, UNKNOWN)),
        {"a": MAYBE},
        Plan(claims=undo("a"), due_at=NOW),
    ),
    "a refused step with an unsettled attempt is undone": (
        turned(step("a", 0, REFUSED)),
        {"a": MAYBE},
        Plan(claims=undo("a"), due_at=NOW),
    ),
    "a step without an effect is left alone": (
        turned(step("a", 0, WAITING), step("b", 1, PENDING)),
        {"a": NONE, "b": NONE},
        Plan(close=SagaState.COMPENSATED),
    ),
    "steps of a group are undone side by side": (
        turned(step("a", 0, SUCCEEDED), step("b", 1, SUCCEEDED), step("c", 1, UNKNOWN), step("d", 1, WAITING)),
        {"a": YES, "b": YES, "c": MAYBE, "d": NONE},
        Plan(claims=undo("b", "c"), due_at=NOW),
    ),
    "nothing is undone while an action is live": (
        turned(step("a", 0, SUCCEEDED), step("b", 1, RUNNING), step("c", 1, SUCCEEDED)),
        {"a": YES, "b": MAYBE, "c": YES},
        Plan(due_at=LATEST),
    ),
    "a live compensation is watched": (
        turned(step("a", 0, SUCCEEDED), step("b", 1, COMPENSATING, lease_until=LATER)),
        {"a": YES, "b": YES},
        Plan(due_at=LATER),
    ),
    "a failing compensation is tried when due": (
        turned(step("a", 0, SUCCEEDED), step("b", 1, COMPENSATING, due_at=NOW)),
        {"a": YES, "b": YES},
        Plan(claims=undo("b"), due_at=NOW),
    ),
    "a failing compensation is not tried before": (
        turned(step("a", 0, SUCCEEDED), step("b", 1, COMPENSATING, due_at=LATER)),
        {"a": YES, "b": YES},
        Plan(due_at=LATER),
    ),
    "a held compensation blocks the steps before it": (
        turned(step("a", 0, SUCCEEDED), step("b", 1, COMPENSATING, hold=Hold.COMPENSATION_REFUSED)),
        {"a": YES, "b": YES},
        Plan(),
    ),
    "a paused saga undoes nothing": (turned(step("a", 0, SUCCEEDED), hold=Hold.PAUSED), {"a": YES}, Plan()),
    "a reopened step is undone before earlier ones go on": (
        turned(step("a", 0, COMPENSATING, due_at=NOW), step("b", 1, COMPENSATING, due_at=NOW)),
        {"a": YES, "b": YES},
        Plan(claims=undo("b"), due_at=NOW),
    ),
    "a skipped step has nothing to undo": (
        turned(step("a", 0, SKIPPED)),
        {"a": NONE},
        Plan(close=SagaState.COMPENSATED),
    ),
    "everything removed closes": (
        turned(step("a", 0, COMPENSATED), step("b", 1, REFUSED)),
        {"a": REMOVED, "b": NONE},
        Plan(close=SagaState.COMPENSATED),
    ),
    "a pivot that happened all the same is undone by nobody and closes nothing": (
        turned(step("a", 0, SUCCEEDED), step("p", 1, REFUSED, P, hold=Hold.CONTRACT_VIOLATION)),
        {"a": YES, "p": YES},
        Plan(),
    ),
    "a compensation that was live when a pivot happened all the same is watched": (
        turned(step("a", 0, COMPENSATING, lease_until=LATER), step("p", 1, REFUSED, P, hold=Hold.CONTRACT_VIOLATION)),
        {"a": YES, "p": YES},
        Plan(due_at=LATER),
    ),
    "not even when nobody held it": (
        turned(step("a", 0, SUCCEEDED), step("p", 1, REFUSED, P)),
        {"a": YES, "p": YES},
        Plan(),
    ),
}


@pytest.mark.parametrize("case", BACKWARDS)
def test_s3_backward(case: str) -> None:
    view, effects, expected = BACKWARDS[case]
    assert needs_effects(view)
    assert plan(view, effects, NOW) == expected


@pytest.mark.parametrize("state", [SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.ABANDONED])
def test_closed_saga_has_no_next_step(state: SagaState) -> None:
    assert plan(SagaView(state=state, steps=(step("a", 0, PENDING),)), {}, NOW) == Plan()


@pytest.mark.parametrize(
    ("pivot", "effect", "expected"),
    [
        (step("p", 0, PENDING, P), NONE, True),
        (step("p", 0, WAITING, P), NONE, True),
        (step("p", 0, WAITING, P), MAYBE, False),
        (step("p", 0, RUNNING, P), MAYBE, False),
        (step("p", 0, UNKNOWN, P), MAYBE, False),
        (step("p", 0, SUCCEEDED, P), YES, False),
        (step("p", 0, REFUSED, P), NONE, True),
        (step("a", 0, SUCCEEDED, C), YES, True),
    ],
)
def test_s7_saga_may_compensate_only_while_the_pivot_is_open(pivot: StepView, effect: Effect, expected: bool) -> None:
    assert is_pivot_open(running(pivot), {pivot.name: effect}) is expected


def moved(state: StepState, **more: object) -> StepMove:
    return StepMove(state=state, **more)


RETRY = {"waiting_for": WaitingFor.RETRY}
AGAIN = {"is_asked_again": True}
# kind, outcome, effect of the step, budget spent -> transition
ACTIONS = [
    (C, Outcome.SUCCEEDED, YES, False, moved(SUCCEEDED)),
    (P, Outcome.SUCCEEDED, YES, True, moved(SUCCEEDED)),
    (R, Outcome.SUCCEEDED, YES, True, moved(SUCCEEDED)),
    (C, Outcome.REFUSED, NONE, False, moved(REFUSED, turns_back=True)),
    (C, Outcome.REFUSED, MAYBE, False, moved(REFUSED, turns_back=True)),
    (P, Outcome.REFUSED, NONE, False, moved(REFUSED, turns_back=True)),
    (P, Outcome.REFUSED, MAYBE, False, moved(UNKNOWN, hold=Hold.OUTCOME_UNKNOWN)),
    (P, Outcome.REFUSED, YES, False, moved(UNKNOWN, hold=Hold.OUTCOME_UNKNOWN)),
    (R, Outcome.REFUSED, NONE, False, moved(REFUSED, hold=Hold.CONTRACT_VIOLATION)),
    (C, Outcome.RETRY, NONE, False, moved(WAITING, **RETRY, **AGAIN)),
    (C, Outcome.RETRY, NONE, True, moved(WAITING, **RETRY, turns_back=True)),
    (C, Outcome.RETRY, MAYBE, True, moved(WAITING, **RETRY, turns_back=True)),
    (P, Outcome.RETRY, NONE, False, moved(WAITING, **RETRY, **AGAIN)),
    (P, Outcome.RETRY, NONE, True, moved(WAITING, **RETRY, turns_back=True)),
    (P, Outcome.RETRY, MAYBE, False, moved(WAITING, **RETRY, **AGAIN)),
    (P, Outcome.RETRY, MAYBE, True, moved(UNKNOWN, hold=Hold.OUTCOME_UNKNOWN)),
    (R, Outcome.RETRY, NONE, False, moved(WAITING, **RETRY, **AGAIN)),
    (R, Outcome.RETRY, NONE, True, moved(WAITING, **RETRY, **AGAIN, attention=Attention.RETRIES_EXHAUSTED)),
    (C, Outcome.IN_PROGRESS, MAYBE, False, moved(WAITING, waiting_for=WaitingFor.ANSWER, **AGAIN)),
    (C, Outcome.IN_PROGRESS, MAYBE, True, moved(WAITING, waiting_for=WaitingFor.ANSWER, turns_back=True)),
    (P, Outcome.IN_PROGRESS, MAYBE, True, moved(UNKNOWN, hold=Hold.OUTCOME_UNKNOWN)),
    (C, Outcome.UNKNOWN, MAYBE, False, moved(UNKNOWN, **AGAIN)),
    (C, Outcome.UNKNOWN, MAYBE, True, moved(UNKNOWN, turns_back=True)),
    (P, Outcome.UNKNOWN, MAYBE, False, moved(UNKNOWN, **AGAIN)),
    (P, Outcome.UNKNOWN, MAYBE, True, moved(UNKNOWN, hold=Hold.OUTCOME_UNKNOWN)),
    (R, Outcome.UNKNOWN, MAYBE, True, moved(UNKNOWN, **AGAIN, attention=Attention.RETRIES_EXHAUSTED)),
    (C, Outcome.MISCONFIGURED, NONE, False, moved(WAITING, **RETRY, hold=Hold.MISCONFIGURED)),
    (C, Outcome.MISCONFIGURED, MAYBE, True, moved(UNKNOWN, hold=Hold.MISCONFIGURED)),
    (P, Outcome.MISCONFIGURED, NONE, True, moved(WAITING, **RETRY, hold=Hold.MISCONFIGURED)),
    (R, Outcome.MISCONFIGURED, NONE, True, moved(WAITING, **RETRY, hold=Hold.MISCONFIGURED)),
    (C, Outcome.FENCED, NONE, False, moved(WAITING, **RETRY, hold=Hold.CONTRACT_VIOLATION)),
    (P, Outcome.FENCED, MAYBE, False, moved(UNKNOWN, hold=Hold.CONTRACT_VIOLATION)),
]


@pytest.mark.parametrize(("kind", "outcome", "effect", "is_spent", "expected"), ACTIONS)
@pytest.mark.parametrize("state", [SagaState.PENDING, SagaState.RUNNING])
def test_s1_after_action(
    kind: Kind, outcome: Outcome, effect: Effect, is_spent: bool, expected: StepMove, state: SagaState
) -> None:
    assert after_action(kind, outcome, effect=effect, is_budget_spent=is_spent, saga_state=state) == expected


@pytest.mark.parametrize("is_spent", [False, True])
@pytest.mark.parametrize(
    ("outcome", "effect", "expected"),
    [
        (Outcome.SUCCEEDED, YES, moved(SUCCEEDED)),
        (Outcome.REFUSED, NONE, moved(REFUSED)),
        (Outcome.RETRY, NONE, moved(WAITING, **RETRY)),
        (Outcome.RETRY, MAYBE, moved(UNKNOWN)),
        (Outcome.IN_PROGRESS, MAYBE, moved(UNKNOWN)),
        (Outcome.UNKNOWN, MAYBE, moved(UNKNOWN)),
        (Outcome.MISCONFIGURED, NONE, moved(WAITING, **RETRY)),
        (Outcome.FENCED, NONE, moved(WAITING, **RETRY)),
    ],
)
def test_s6_action_that_ends_in_a_compensating_saga_is_not_retried(
    outcome: Outcome, effect: Effect, expected: StepMove, is_spent: bool
) -> None:
    found = after_action(C, outcome, effect=effect, is_budget_spent=is_spent, saga_state=SagaState.COMPENSATING)
    assert found == expected


FAILING = {"attention": Attention.COMPENSATION_FAILING}


@pytest.mark.parametrize(
    ("outcome", "is_spent", "must_verify", "expected"),
    [
        (Outcome.SUCCEEDED, False, False, moved(COMPENSATED)),
        (Outcome.SUCCEEDED, True, False, moved(COMPENSATED)),
        (Outcome.SUCCEEDED, False, True, moved(COMPENSATING, waiting_for=WaitingFor.ANSWER, **AGAIN)),
        (Outcome.REFUSED, False, False, moved(COMPENSATING, hold=Hold.COMPENSATION_REFUSED)),
        (Outcome.REFUSED, True, False, moved(COMPENSATING, hold=Hold.COMPENSATION_REFUSED)),
        (Outcome.MISCONFIGURED, False, False, moved(COMPENSATING, hold=Hold.MISCONFIGURED)),
        (Outcome.RETRY, False, False, moved(COMPENSATING, **RETRY, **AGAIN)),
        (Outcome.RETRY, True, False, moved(COMPENSATING, **RETRY, **AGAIN, **FAILING)),
        (Outcome.UNKNOWN, False, False, moved(COMPENSATING, **RETRY, **AGAIN)),
        (Outcome.UNKNOWN, True, False, moved(COMPENSATING, **RETRY, **AGAIN, **FAILING)),
        (Outcome.FENCED, False, False, moved(COMPENSATING, **RETRY, **AGAIN)),
        (Outcome.IN_PROGRESS, False, False, moved(COMPENSATING, waiting_for=WaitingFor.ANSWER, **AGAIN)),
        (Outcome.IN_PROGRESS, True, False, moved(COMPENSATING, waiting_for=WaitingFor.ANSWER, **AGAIN, **FAILING)),
    ],
)
def test_s3_after_compensation(outcome: Outcome, is_spent: bool, must_verify: bool, expected: StepMove) -> None:
    assert after_compensation(outcome, is_budget_spent=is_spent, must_verify=must_verify) == expected
