"""S1: outcome of each way in which a step function can end, forward and back, local and external."""

from typing import Any

import pytest
from django.db import IntegrityError, connections

from sagas import Fenced, InProgress, Misconfigured, OutcomeUnknown, RetryLater
from sagas.core.states import Direction, Effect, Hold, Outcome
from sagas.testing import drain, effect_of, outcomes_of

from .world import COMPENSATION, After, Broken, CannotUndo, Refused, World, attempts, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")

LOCAL, APART, EXTERNAL = "local", "local in a database of its own", "external"


@pytest.fixture(params=[LOCAL, APART, EXTERNAL])
def place(request: pytest.FixtureRequest, inventory_alias: str) -> str:
    """Return where the tested step runs: local in the engine's database, local in another, or external."""
    return str(request.param)


def options_of(place: str) -> dict[str, Any]:
    return {"participant": "inventory" if place == APART else None, "external": place == EXTERNAL}


# What happens, and how the attempt of a local and of an external step ends: outcome and effect.
ENDINGS = {
    "returns": (None, (Outcome.SUCCEEDED, Effect.YES), (Outcome.SUCCEEDED, Effect.YES)),
    "declared refusal": (Refused("no"), (Outcome.REFUSED, Effect.NONE), (Outcome.REFUSED, Effect.NONE)),
    "retry later": (RetryLater("busy"), (Outcome.RETRY, Effect.NONE), (Outcome.RETRY, Effect.NONE)),
    "in progress": (InProgress("working"), (Outcome.IN_PROGRESS, Effect.MAYBE), (Outcome.IN_PROGRESS, Effect.MAYBE)),
    "outcome unknown": (OutcomeUnknown("?"), (Outcome.UNKNOWN, Effect.MAYBE), (Outcome.UNKNOWN, Effect.MAYBE)),
    "any other error": (Broken("x"), (Outcome.RETRY, Effect.NONE), (Outcome.UNKNOWN, Effect.MAYBE)),
    "any other error after the effect": (
        After(Broken("x")),
        (Outcome.RETRY, Effect.NONE),
        (Outcome.UNKNOWN, Effect.MAYBE),
    ),
    "misconfigured": (
        Misconfigured("no key"),
        (Outcome.MISCONFIGURED, Effect.NONE),
        (Outcome.MISCONFIGURED, Effect.NONE),
    ),
    "fenced": (Fenced("tombstone"), (Outcome.FENCED, Effect.NONE), (Outcome.FENCED, Effect.NONE)),
    "result that is no JSON": ({"x": object()}, (Outcome.RETRY, Effect.NONE), (Outcome.MISCONFIGURED, Effect.MAYBE)),
    "result with NaN": ({"x": float("nan")}, (Outcome.RETRY, Effect.NONE), (Outcome.MISCONFIGURED, Effect.MAYBE)),
    "result with NUL": ({"x": "\x00"}, (Outcome.RETRY, Effect.NONE), (Outcome.MISCONFIGURED, Effect.MAYBE)),
    "result too large": ({"x": "y" * 65_536}, (Outcome.RETRY, Effect.NONE), (Outcome.MISCONFIGURED, Effect.MAYBE)),
    "result that is no object": (
        lambda _step, proceed: proceed() or ["a", "list"],
        (Outcome.RETRY, Effect.NONE),
        (Outcome.MISCONFIGURED, Effect.MAYBE),
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_s1_every_ending_of_an_action_has_its_outcome_and_effect(world: World, place: str, ending: str) -> None:
    behaviour, local, external = ENDINGS[ending]
    world.will("a", behaviour)
    world.will("b", RetryLater())  # prevents the saga from continuing
    saga = world.begin(a=world.compensatable(**options_of(place)), b=world.compensatable())

    work(saga)

    [attempt] = attempts(saga, "a")
    expected = external if place == EXTERNAL else local
    assert (attempt.outcome, attempt.effect) == tuple(value.value for value in expected)
    assert attempt.ended_at is not None
    if place != EXTERNAL and ending != "returns":
        assert world.count(saga, "a", participant=options_of(place)["participant"]) == 0


# How the saga continues after its first action ended so: saga state, local and external step state, hold.
CONSEQUENCES = {
    "returns": ("running", "succeeded", "succeeded", None),
    "declared refusal": ("compensated", "refused", "refused", None),
    "retry later": ("running", "waiting", "waiting", None),
    "in progress": ("running", "waiting", "waiting", None),
    "outcome unknown": ("running", "unknown", "unknown", None),
    "any other error": ("running", "waiting", "unknown", None),
    "misconfigured": ("running", "waiting", "waiting", Hold.MISCONFIGURED),
    "fenced": ("running", "waiting", "waiting", Hold.CONTRACT_VIOLATION),
    "result that is no JSON": ("running", "waiting", "unknown", None),
    "result too large": ("running", "waiting", "unknown", None),
}


@pytest.mark.parametrize("ending", CONSEQUENCES)
def test_s1_every_ending_of_an_action_sets_the_state_of_its_step(world: World, place: str, ending: str) -> None:
    state, local, external, hold = CONSEQUENCES[ending]
    is_unstorable = ending.startswith("result") and place == EXTERNAL
    world.will("a", ENDINGS[ending][0])
    world.will("b", RetryLater())

    saga = work(world.begin(a=world.compensatable(**options_of(place)), b=world.compensatable()))

    step = step_of(saga, "a")
    assert (saga.state, step.state) == (state, external if place == EXTERNAL else local)
    assert step.hold == (Hold.MISCONFIGURED if is_unstorable else hold)
    is_asked_again = step.state in ("waiting", "unknown") and step.hold is None
    assert (step.due_at is not None) is is_asked_again
    if step.state == "waiting":
        assert step.waiting_for == ("answer" if ending == "in progress" else "retry")
    if step.hold:
        assert world.called("b") == 0
        assert saga.due_at is None


# The same endings of a compensation: outcome if local, if external; step state; hold.
BACK = {
    "returns": (Outcome.SUCCEEDED, Outcome.SUCCEEDED, "compensated", None),
    "declared refusal": (Outcome.REFUSED, Outcome.REFUSED, "compensating", Hold.COMPENSATION_REFUSED),
    "retry later": (Outcome.RETRY, Outcome.RETRY, "compensating", None),
    "in progress": (Outcome.IN_PROGRESS, Outcome.IN_PROGRESS, "compensating", None),
    "outcome unknown": (Outcome.UNKNOWN, Outcome.UNKNOWN, "compensating", None),
    "any other error": (Outcome.RETRY, Outcome.UNKNOWN, "compensating", None),
    "misconfigured": (Outcome.MISCONFIGURED, Outcome.MISCONFIGURED, "compensating", Hold.MISCONFIGURED),
    "fenced": (Outcome.FENCED, Outcome.FENCED, "compensating", None),
    "result that is no JSON": (Outcome.RETRY, Outcome.MISCONFIGURED, "compensating", None),
}


@pytest.mark.parametrize("ending", BACK)
def test_s1_every_ending_of_a_compensation_sets_the_state_of_its_step(world: World, place: str, ending: str) -> None:
    local, external, state, hold = BACK[ending]
    world.will("b", Refused())
    world.will("a", CannotUndo("no") if ending == "declared refusal" else ENDINGS[ending][0], direction=COMPENSATION)

    saga = work(world.begin(a=world.compensatable(**options_of(place)), b=world.compensatable()))

    step = step_of(saga, "a")
    assert outcomes_of(saga.pk, "a", Direction.COMPENSATION) == [external if place == EXTERNAL else local]
    is_unstorable = ending.startswith("result") and place == EXTERNAL
    assert (step.state, step.hold) == (state, Hold.MISCONFIGURED if is_unstorable else hold)
    assert saga.state == ("compensated" if state == "compensated" else "compensating")
    assert (step.due_at is not None) is (step.state == "compensating" and step.hold is None)


def test_s1_in_progress_is_polled_after_the_given_time(world: World) -> None:
    world.will("a", InProgress(poll_after=77))
    saga = work(world.begin(a=world.compensatable(external=True)))
    step = step_of(saga, "a")
    assert (step.due_at - attempts(saga, "a")[0].ended_at).total_seconds() == pytest.approx(77, abs=1e-6)
    assert step.budget_used == 0


def test_s1_in_progress_without_a_time_is_polled_after_the_default(world: World) -> None:
    world.will("a", InProgress())
    saga = work(world.begin(a=world.compensatable(external=True)))
    assert (step_of(saga, "a").due_at - attempts(saga, "a")[0].ended_at).total_seconds() == pytest.approx(5, abs=1e-6)


def test_s1_effect_stays_maybe_through_later_retries(world: World) -> None:
    world.will("a", OutcomeUnknown(), RetryLater(), RetryLater(), RetryLater(after=10_000))
    saga = drain(world.begin(a=world.compensatable(external=True)))
    assert outcomes_of(saga.pk, "a") == [Outcome.UNKNOWN, Outcome.RETRY, Outcome.RETRY, Outcome.RETRY]
    assert effect_of(saga.pk, "a") is Effect.MAYBE


def test_s1_error_is_kept_with_class_message_and_traceback(world: World) -> None:
    world.will("a", Broken("the \x00 wire \ud800 was cut"))
    saga = work(world.begin(a=world.compensatable(external=True)))
    [attempt] = attempts(saga, "a")
    assert attempt.error_class == "tests.engine.world.Broken"
    assert attempt.message == "the \ufffd wire ? was cut"
    assert "Broken" in attempt.traceback
    assert step_of(saga, "a").last_error.startswith("tests.engine.world.Broken: the")


def test_s1_expected_refusal_keeps_no_traceback(world: World) -> None:
    world.will("a", Refused("sold out"))
    saga = work(world.begin(a=world.compensatable(external=True)))
    [attempt] = attempts(saga, "a")
    assert (attempt.message, attempt.traceback) == ("sold out", "")


def break_constraint(step: Any, proceed: Any, using: str) -> None:
    proceed()
    with connections[using].cursor() as cursor:
        cursor.execute("INSERT INTO engine_test_ledger (key, what) VALUES (NULL, 'done')")


@pytest.mark.parametrize("participant", [None, "inventory"])
def test_s1_constraint_violation_rolls_back_a_local_step(
    world: World, inventory_alias: str, participant: str | None
) -> None:
    using = inventory_alias if participant else "default"
    world.will("a", lambda step, proceed: break_constraint(step, proceed, using))
    saga = work(world.begin(a=world.compensatable(participant)))
    [attempt] = attempts(saga, "a")
    assert (attempt.outcome, attempt.effect) == ("retry", "none")
    assert attempt.error_class == f"{IntegrityError.__module__}.{IntegrityError.__qualname__}"
    assert world.count(saga, "a", participant=participant) == 0

    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", participant=participant)) == ("completed", 1)


def test_s1_later_steps_get_results_and_every_call_gets_the_input(world: World) -> None:
    world.will("a", {"seat": "12A"})
    world.will("c", Refused())
    saga = drain(world.begin(a=world.compensatable(), b=world.compensatable(external=True), c=world.compensatable()))
    assert states(saga) == {"a": "compensated", "b": "compensated", "c": "refused"}
    by_name = {(call.step, call.direction): call.results for call in world.calls}
    assert by_name["b", Direction.ACTION] == {"a": {"seat": "12A"}}
    assert by_name["a", Direction.COMPENSATION] == {"a": {"seat": "12A"}, "b": {"by": "b"}}
