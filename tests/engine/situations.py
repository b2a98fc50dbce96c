"""Every situation of a saga in which an operator may act, and what is allowed there (S8)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sagas import Misconfigured, OutcomeUnknown, RetryLater
from sagas.core.definition import registry
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaStep
from sagas.operators import operations
from sagas.operators.preconditions import Operation
from sagas.testing import drain, pass_time

from .acting import ABANDON, CANCEL, COMPENSATE, COMPENSATED, PAUSE, REFUSED, RESUME, RETRY, SKIP, SUCCEEDED
from .frozen import freeze
from .world import COMPENSATION, OPERATOR, REASON, CannotUndo, Refused, World, work

SHORT = timedelta(minutes=5)


@dataclass(frozen=True)
class Trip:
    """Name the trip."""

    number: str


def start(world: World) -> Saga:
    external = {"external": True}
    return world.begin(
        a=world.compensatable(**external),
        b=world.compensatable(**external),
        p=world.pivot(**external),
        r=world.retriable(refuses_on=[Refused], **external),
    )


def started(_world: World, saga: Saga) -> None:
    """Leave the saga as it was started."""


def live(_world: World, saga: Saga) -> None:
    freeze(saga, "a")


def expired(_world: World, saga: Saga) -> None:
    freeze(saga, "a")
    pass_time(timedelta(seconds=31))


def waiting(world: World, saga: Saga) -> None:
    world.will("a", RetryLater(after=60))
    work(saga)


def waiting_in_doubt(world: World, saga: Saga) -> None:
    world.will("a", OutcomeUnknown(), RetryLater(after=60))
    pass_time(until_due=work(saga))
    work(saga)


def unknown(world: World, saga: Saga) -> None:
    world.will("a", OutcomeUnknown())
    work(saga)


def misconfigured(world: World, saga: Saga) -> None:
    world.will("a", Misconfigured("no key"))
    work(saga)


def misconfigured_in_doubt(world: World, saga: Saga) -> None:
    world.will("a", {"x": object()})
    work(saga)


def paused(_world: World, saga: Saga) -> None:
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)


def pivot_live(_world: World, saga: Saga) -> None:
    freeze(saga, "p")


def pivot_waiting(world: World, saga: Saga) -> None:
    world.will("p", RetryLater(after=60))
    work(saga)


def pivot_unknown(world: World, saga: Saga) -> None:
    world.will("p", OutcomeUnknown())
    work(saga)


def pivot_held(world: World, saga: Saga) -> None:
    world.will("p", *[OutcomeUnknown()] * 5)
    drain(saga, patience=SHORT)


def after_pivot(world: World, saga: Saga) -> None:
    world.will("r", RetryLater(after=60))
    work(saga)


def violated(world: World, saga: Saga) -> None:
    world.will("r", Refused())
    work(saga)


def turned_back(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    world.will("a", RetryLater(after=60), direction=COMPENSATION)
    work(saga)


def failing(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    world.will("a", *[RetryLater()] * 10, direction=COMPENSATION)
    drain(saga, patience=SHORT)


def cannot_undo(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    world.will("a", CannotUndo(), direction=COMPENSATION)
    work(saga)


def undoing(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    freeze(saga, "a", compensation=True)


def orphaned(_world: World, saga: Saga) -> None:
    registry.forget("trip", 1)
    work(saga)


def completed(_world: World, saga: Saga) -> None:
    drain(saga)


def compensated(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    drain(saga)


def abandoned(_world: World, saga: Saga) -> None:
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)


FORWARD = {COMPENSATE, PAUSE, CANCEL, ABANDON}
TABLE: dict[Callable[[World, Saga], None], tuple[str, set[Operation]]] = {
    started: ("a", FORWARD | {SKIP}),
    live: ("a", FORWARD - {ABANDON}),
    expired: ("a", FORWARD | {RETRY, SUCCEEDED, REFUSED}),
    waiting: ("a", FORWARD | {RETRY, SKIP}),
    waiting_in_doubt: ("a", FORWARD | {RETRY}),
    unknown: ("a", FORWARD | {RETRY, SUCCEEDED, REFUSED}),
    misconfigured: ("a", FORWARD | {RETRY, SKIP, SUCCEEDED, REFUSED}),
    misconfigured_in_doubt: ("a", FORWARD | {RETRY, SUCCEEDED, REFUSED}),
    paused: ("a", FORWARD - {PAUSE} | {SKIP, RESUME}),
    pivot_live: ("p", {PAUSE, CANCEL}),
    pivot_waiting: ("p", FORWARD | {RETRY}),
    pivot_unknown: ("p", {PAUSE, CANCEL, ABANDON, RETRY, SUCCEEDED, REFUSED}),
    pivot_held: ("p", {PAUSE, CANCEL, ABANDON, RETRY, SUCCEEDED, REFUSED}),
    after_pivot: ("r", {PAUSE, ABANDON, RETRY, SKIP}),
    violated: ("r", {PAUSE, ABANDON, RETRY, SKIP, SUCCEEDED}),
    turned_back: ("a", {PAUSE, ABANDON, RETRY}),
    failing: ("a", {PAUSE, ABANDON, RETRY, COMPENSATED}),
    cannot_undo: ("a", {PAUSE, ABANDON, RETRY, COMPENSATED}),
    undoing: ("a", {PAUSE}),
    orphaned: ("a", FORWARD | {SKIP}),
    completed: ("a", set()),
    compensated: ("a", set()),
    abandoned: ("a", set()),
}


def snapshot(saga: Saga) -> list[Any]:
    """Return everything that is stored about a saga."""
    models = (SagaStep, SagaAttempt, SagaHistory)
    return [
        list(Saga.objects.filter(pk=saga.pk).values()),
        *[list(model.objects.filter(saga_id=saga.pk).order_by("pk").values()) for model in models],
    ]
