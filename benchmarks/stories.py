"""Sagas of every kind, run through the engine as patterns for generated ones.

The engine itself writes the patterns' rows, so they are realistic; the caller rolls everything back. No step function
is ever called: the story determines the outcome of each attempt.
"""

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import Any
from uuid import UUID

from sagas import clock
from sagas.conf import get_settings
from sagas.core.definition import inputs
from sagas.core.definition.saga import SagaDefinition
from sagas.core.definition.steps import Step
from sagas.core.outcomes import Report
from sagas.core.states import Direction, Effect, Kind, Outcome
from sagas.engine import claim, start_saga, step_transitions
from sagas.engine.execute import ClaimedStep
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.operations import Operation

GENERATED_BY = "saga_generate"
"""Actor that starts these sagas, which distinguishes them from real ones."""
KEY = "{key}"
"""Placeholder in an input for the saga's own business key."""
NUMBER = "{number}"
"""Placeholder in an error's text or a result for the saga's own number."""

WORKER = "worker-1.example:4711"
OPERATOR = Actor(name="ada", is_trusted=True)
REASON = "The provider confirmed that it will not come back."
ATTEMPT_SECONDS = 0.2
MAX_MOVES = 200  # more than any story needs
FEW = 2
SOME_NUMBER, SOME_TEXT = 1, KEY

ERRORS = (
    ("payments.exceptions.GatewayUnavailable", "HTTP 503 from the gateway, request {number}"),
    ("shipping.exceptions.CarrierAnswerLost", "No answer for {key} within 10.0 seconds"),
    ("django.db.utils.OperationalError", "deadlock detected: process {number} waits for a row"),
    ("inventory.exceptions.OutOfStock", "0 of SKU-{number} are left, 1 is asked for"),
)


class Stand(Enum):
    """Point at which a story stops."""

    BEGINNING = auto()  #: no step was claimed
    LIVE = auto()  #: after the answers, the next attempt at the place is under way
    WAITING = auto()  #: after the answers, the place waits
    END = auto()  #: the saga is closed or held


@dataclass(frozen=True, kw_only=True)
class Story:
    """Course of one saga.

    name: for reports. weight: relative frequency among open or among closed sagas. place, direction: where the answers
    apply. answers: outcomes of the attempts there, in order; all others succeed. refuses: step whose refusal turns the
    saga back. stand: where it stops. then: operation performed then. is_late: whether its deadline passes at the end.
    """

    name: str
    weight: float
    place: str = ""
    direction: Direction = Direction.ACTION
    answers: tuple[Outcome, ...] = ()
    refuses: str = ""
    stand: Stand = Stand.END
    then: Operation | None = None
    is_late: bool = False
    error: int = 0


def list_stories(definition: type[SagaDefinition]) -> Iterator[Story]:
    """Yield the stories that are possible for this definition, each at its possible steps."""
    steps = [step for step in definition.steps if step.action is not None]
    if not steps:
        return
    pivot = definition.pivot()
    yield Story(name="completed", weight=700)
    yield from _spread("completed after an error", 120, steps, answers=(Outcome.RETRY,))
    yield Story(name="pending", weight=5, stand=Stand.BEGINNING)
    yield from _spread("running", 30, steps, stand=Stand.LIVE)
    waiting = {
        "waiting for a retry": (Outcome.RETRY, 20), "waiting for an answer": (Outcome.IN_PROGRESS, 5),
        "asked again": (Outcome.UNKNOWN, 5),
    }  # fmt: skip
    for name, (outcome, weight) in waiting.items():
        yield from _spread(name, weight, steps, answers=(outcome,), stand=Stand.WAITING)
    yield from _spread("misconfigured", 4, steps, answers=(Outcome.MISCONFIGURED,))
    yield Story(
        name="paused",
        weight=2,
        place=steps[0].name,
        answers=(Outcome.RETRY,),
        stand=Stand.WAITING,
        then=Operation.PAUSE,
    )
    yield from _list_turned_back(definition, steps)
    if pivot is not None:
        spent = (Outcome.UNKNOWN,) * _attempts_of(pivot)
        yield Story(name="pivot unknown", weight=4, place=pivot.name, answers=spent)
        yield Story(name="abandoned", weight=2, place=pivot.name, answers=spent, then=Operation.ABANDON)
    yield from _list_past_the_pivot(definition, steps)


def _list_turned_back(definition: type[SagaDefinition], steps: list[Step]) -> Iterator[Story]:
    refusing = [step for step in steps if step.kind is not Kind.RETRIABLE]
    yield from _spread_refusals("compensated", 130, refusing)
    cancelled = [step for step in refusing if step.kind is Kind.COMPENSATABLE]
    yield from _spread("cancelled", 20, cancelled, answers=(Outcome.RETRY,), stand=Stand.WAITING, then=Operation.CANCEL)
    for step in cancelled[:1]:
        spent = (Outcome.RETRY,) * _attempts_of(step)
        yield Story(name="given up", weight=30, place=step.name, answers=spent)
    if len(cancelled) < 1 or refusing[-1] is cancelled[0]:
        return
    undone, last = cancelled[0].name, refusing[-1].name
    budget = get_settings().policy(cancelled[0], Direction.COMPENSATION).attempts
    for name, weight, answers, stand in (
        ("compensating", 5, (), Stand.LIVE),
        ("compensation waits", 3, (Outcome.RETRY,), Stand.WAITING),
        ("compensation failing", 6, (Outcome.RETRY,) * budget, Stand.WAITING),
    ):
        yield Story(
            name=name, weight=weight, place=undone, direction=Direction.COMPENSATION, answers=answers, refuses=last,
            stand=stand,
        )  # fmt: skip
    if cancelled[0].compensation_refuses_on:
        yield Story(
            name="compensation refused", weight=2, place=undone, direction=Direction.COMPENSATION,
            answers=(Outcome.REFUSED,), refuses=last,
        )  # fmt: skip


def _list_past_the_pivot(definition: type[SagaDefinition], steps: list[Step]) -> Iterator[Story]:
    for step in [step for step in steps if step.kind is Kind.RETRIABLE][:1]:
        spent = (Outcome.RETRY,) * _attempts_of(step)
        yield Story(name="retries exhausted", weight=4, place=step.name, answers=spent, stand=Stand.WAITING)
        if step.refuses_on:
            yield Story(name="contract violated", weight=1, place=step.name, answers=(Outcome.REFUSED,))
        if definition.deadline:
            yield Story(
                name="overdue", weight=4, place=step.name, answers=(Outcome.RETRY,), stand=Stand.WAITING, is_late=True
            )


def _spread(name: str, weight: float, steps: list[Step], **facts: Any) -> Iterator[Story]:
    """Yield the same story at a few of these steps, each with another error."""
    steps = steps[:: max(1, len(steps) // FEW)]
    for number, step in enumerate(steps):
        yield Story(name=name, weight=weight / len(steps), place=step.name, error=number % len(ERRORS), **facts)


def _spread_refusals(name: str, weight: float, steps: list[Step]) -> Iterator[Story]:
    for number, step in enumerate(steps):
        yield Story(name=name, weight=weight / len(steps), refuses=step.name, error=number % len(ERRORS))


def _attempts_of(step: Step) -> int:
    return get_settings().policy(step, Direction.ACTION).attempts


def live(definition: type[SagaDefinition], story: Story) -> UUID:
    """Run one saga by the story, and move the engine's clock.

    Returns: its id.
    Tx: must be inside one, which the caller rolls back.
    """
    saga = start_saga.start(
        definition, make_input(definition.input), business_keys={"reference": KEY}, actor=GENERATED_BY
    )
    if story.stand is Stand.BEGINNING:
        return saga.pk
    _go_on(saga.pk, story)
    if story.then is not None:
        clock.move(timedelta(minutes=2))
        operations.perform_operation(story.then, saga.pk, actor=OPERATOR, reason=REASON)
        if story.then is Operation.CANCEL:
            _go_on(saga.pk, Story(name=story.name, weight=0))
    if story.is_late and definition.deadline:
        clock.move(definition.deadline)
        _settle(SagaUnitOfWork.lock(saga.pk), may_claim=False)
    return saga.pk


def _go_on(saga_id: UUID, story: Story) -> None:
    answers, claimed = list(story.answers), None
    for _ in range(MAX_MOVES):
        work = SagaUnitOfWork.lock(saga_id)
        if claimed is not None:
            step_transitions.record(
                work, work.step(claimed.step.name), claimed.direction, _answer(claimed, story, answers)
            )
        is_enough = claimed is not None and _is_at(claimed, story) and not answers and story.stand is Stand.WAITING
        claimed = _settle(work, may_claim=not is_enough)
        if is_enough or (claimed is None and not _wait(work)):
            return
        if claimed is not None and _is_at(claimed, story) and not answers and story.stand is Stand.LIVE:
            return
        clock.move(timedelta(seconds=ATTEMPT_SECONDS))


def _is_at(claimed: ClaimedStep, story: Story) -> bool:
    return (claimed.step.name, claimed.direction) == (story.place, story.direction)


def _settle(work: SagaUnitOfWork, *, may_claim: bool) -> ClaimedStep | None:
    following = claim.claim_next(work, queues=None, worker=WORKER, may_claim=may_claim)
    if following.is_worth_writing:
        work.write()
    return following.claimed


def _wait(work: SagaUnitOfWork) -> bool:
    """Move the clock to the saga's due time.

    Returns: False if it is not due or is held.
    """
    due_at = work.saga.due_at
    if due_at is None or work.saga.hold or any(step.hold for step in work.steps):
        return False
    clock.move(max(due_at - work.now, timedelta()))
    return True


def _answer(claimed: ClaimedStep, story: Story, answers: list[Outcome]) -> Report:
    """Return the report of an attempt; remove its outcome from the answers if it is one of them."""
    outcome = answers.pop(0) if _is_at(claimed, story) and answers else Outcome.SUCCEEDED
    if claimed.step.name == story.refuses and claimed.direction is Direction.ACTION:
        outcome = Outcome.REFUSED
    return _report(outcome, claimed, story)


def _report(outcome: Outcome, claimed: ClaimedStep, story: Story) -> Report:
    if outcome is Outcome.SUCCEEDED:
        is_action = claimed.direction is Direction.ACTION
        return Report(outcome=outcome, effect=Effect.YES, result={claimed.step.name: NUMBER} if is_action else None)
    is_open = outcome in (Outcome.UNKNOWN, Outcome.IN_PROGRESS)
    error_class, message = ERRORS[story.error]
    return Report(
        outcome=outcome,
        effect=Effect.MAYBE if is_open else Effect.NONE,
        covers_earlier=outcome is Outcome.REFUSED and claimed.step.refusal_settles,
        is_counted=outcome is not Outcome.IN_PROGRESS,
        error_class=error_class,
        message=message,
    )


def make_input(schema: type | None) -> Any:
    """Return a valid input: each text is the business key, each number 1."""
    return inputs.load(schema, _make_value(schema)) if schema is not None else None


def _make_value(hint: Any) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return {field.name: _make_value(hints[field.name]) for field in fields(hint)}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _make_value(arguments[0])
    if origin is tuple:
        return [_make_value(argument) for argument in arguments if argument is not Ellipsis]
    if origin is list:
        return [_make_value(arguments[0])]
    if origin is dict:
        return {"a": _make_value(arguments[1])}
    return {str: SOME_TEXT, bool: False, int: SOME_NUMBER, float: float(SOME_NUMBER)}.get(hint)
