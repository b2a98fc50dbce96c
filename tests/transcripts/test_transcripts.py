"""Whole histories of sagas as text, compared with the files beside this one.

A change of a file is a change of what people read about their sagas; ``GOLDEN=write`` in the environment accepts it.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from sagas import Compensatable, Misconfigured, OutcomeUnknown, Parallel, RetryLater, RetryPolicy
from sagas.core.definition import registry
from sagas.models import Saga
from sagas.operators import notes, operations
from sagas.operators.actor import Actor
from sagas.testing import assert_transcript, drain, pass_time, transcript
from tests.engine.frozen import freeze
from tests.engine.world import COMPENSATION, CannotUndo, Refused, World, work

pytestmark = pytest.mark.django_db(databases="__all__")

HERE = Path(__file__).parent
OPERATOR = Actor(name="ada", is_trusted=True)
REASON, EVIDENCE = "because the test wants it", "the provider's page says so"


def start(world: World, **options: object) -> Saga:
    """Start the trip that most of the stories are about."""
    return world.begin(
        ask=Compensatable(compensation=world.compensation()),
        hold_seat=world.compensatable(),
        authorize=world.compensatable(external=True),
        capture=world.pivot(external=True),
        confirm=world.retriable(),
        **options,
    )


def completed(world: World) -> Saga:
    return drain(start(world))


def refused(world: World) -> Saga:
    world.will("capture", Refused("declined"))
    return drain(start(world))


def answer_lost_once(world: World) -> Saga:
    world.will("authorize", OutcomeUnknown("no answer"))
    return drain(start(world))


def pivot_marked_refused(world: World) -> Saga:
    world.will("capture", *[OutcomeUnknown("no answer")] * 5)
    saga = drain(start(world))
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="capture")
    return drain(saga)


def worker_lost(world: World) -> Saga:
    saga = start(world)
    freeze(saga, "authorize", before_call=True)
    return drain(saga)


def late_effect(world: World) -> Saga:
    world.closes_keys = False
    saga = start(world)
    frozen = freeze(saga, "authorize", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(saga)
    frozen.thaw()
    return drain(saga)


def group_with_a_failure(world: World) -> Saga:
    group = Parallel(flight=world.compensatable(), hotel=world.compensatable(), car=world.compensatable())
    world.will("flight", RetryLater(after=60))
    world.will("hotel", Refused("full"))
    return drain(world.begin(ask=world.compensatable(), book=group))


def compensation_refused_and_marked(world: World) -> Saga:
    world.will("capture", Refused("declined"))
    world.will("authorize", CannotUndo("too old"), direction=COMPENSATION)
    saga = drain(start(world))
    operations.mark_compensated(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="authorize")
    return drain(saga)


def compensation_failing(world: World) -> Saga:
    world.will("b", Refused("no"))
    world.will("a", *[RetryLater("down")] * 3, direction=COMPENSATION)
    step = world.compensatable(compensation_retry=RetryPolicy(attempts=2))
    return drain(world.begin(a=step, b=world.compensatable()), patience=timedelta(days=1))


def paused_over_its_deadline(world: World) -> Saga:
    saga = start(world, deadline=timedelta(minutes=1))
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    pass_time(timedelta(minutes=2))
    work(saga)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    return drain(saga)


def misconfigured_and_retried(world: World) -> Saga:
    world.will("authorize", Misconfigured("no key"))
    saga = drain(start(world))
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    return drain(saga)


def definition_missing(world: World) -> Saga:
    saga = start(world)
    definition = registry.get("trip", 1)
    registry.forget("trip", 1)
    work(saga)
    registry.register(definition)
    return drain(saga)


def noted(world: World) -> Saga:
    saga = start(world)
    notes.add_note(saga.pk, actor=OPERATOR, text="The customer called.")
    saga = drain(saga)
    notes.add_note(saga.pk, actor=OPERATOR, text="She is content.")
    return saga


def abandoned(world: World) -> Saga:
    world.will("capture", *[OutcomeUnknown("no answer")] * 5)
    saga = drain(start(world))
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    return drain(saga)


STORIES: list[Callable[[World], Saga]] = [
    completed, refused, answer_lost_once, pivot_marked_refused, worker_lost, late_effect, group_with_a_failure,
    compensation_refused_and_marked, compensation_failing, paused_over_its_deadline, misconfigured_and_retried,
    definition_missing, noted, abandoned,
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_story_is_told_as_it_always_was(world: World, story: Callable[[World], Saga]) -> None:
    saga = story(world)
    file = HERE / f"{story.__name__}.txt"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(transcript(saga) + "\n")
    assert saga.closed_at is not None
    assert_transcript(saga, file.read_text())


def test_every_file_belongs_to_a_story() -> None:
    assert {file.stem for file in HERE.glob("*.txt")} == {story.__name__ for story in STORIES}
