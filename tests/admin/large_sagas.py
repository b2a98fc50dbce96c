"""Large sagas: many steps, wide groups, long histories."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import uuid4

from sagas import Compensatable, Parallel, Pivot, Retriable, SagaDefinition
from sagas.models import Saga, SagaAttempt, SagaStep

from .trips import TripInput, do, undo

NAMES = [f"step_{number:02}_of_a_long_way" for number in range(58)]


class MarathonSaga(SagaDefinition):
    """Saga of sixty steps."""

    locals().update({name: Compensatable(do, undo) for name in NAMES})
    turn = Pivot(do)
    arrive = Retriable(do)

    class Meta:
        name = "marathon"
        input = TripInput


class CrowdSaga(SagaDefinition):
    """Saga with a group of twelve."""

    invite = Compensatable(do, undo)
    guests = Parallel(**{f"ask_guest_{number}": Compensatable(do, undo) for number in range(12)})
    sit_down = Pivot(do, external=True)

    class Meta:
        name = "crowd"
        input = TripInput


def add_attempts(
    saga: Saga, step: str, moments: Iterable[tuple[timedelta, timedelta]], *, direction: str = "action",
    outcome: str = "retry",
) -> None:  # fmt: skip
    """Add attempts with these start and end times, relative to the start of the saga."""
    row = SagaStep.objects.get(saga=saga, name=step)
    number = SagaAttempt.objects.filter(step=row, direction=direction).count()
    SagaAttempt.objects.bulk_create(
        SagaAttempt(
            saga=saga, step=row, direction=direction, number=number + place, lease_token=uuid4(), worker="host-7:1234",
            started_at=saga.created_at + start, deadline_at=saga.created_at + end, ended_at=saga.created_at + end,
            outcome=outcome, effect="none", error_class="payments.exceptions.GatewayDown",
            message=f"The gateway did not answer ({number + place}).",
        )
        for place, (start, end) in enumerate(moments, start=1)
    )  # fmt: skip


def age(saga: Saga, span: timedelta) -> Saga:
    """Move the saga and its history into the past."""
    for attempt in SagaAttempt.objects.filter(saga=saga):
        attempt.started_at -= span
        attempt.ended_at = attempt.ended_at and attempt.ended_at - span
        attempt.save(update_fields=["started_at", "ended_at"])
    saga.created_at -= span
    saga.save(update_fields=["created_at"])
    return saga
