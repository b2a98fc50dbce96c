"""Conditions that a filter of sagas adds to a queryset, each supported by an index."""

from collections.abc import Collection
from datetime import UTC, datetime

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from ...conf import get_settings
from ...core.states import Direction, SagaState, StepState
from ...models import Saga, SagaAttempt, SagaStep
from ..presentation import filter_by_reason, needs_operator
from ..presentation.filters import IS_OPEN
from ..time_windows import TIME_WINDOWS

ANY_REASON = "any"
OPEN, TODAY = "no", "today"
# States of a step that has begun and is not over.
AT_WORK = [
    state.value
    for state in (
        StepState.RUNNING, StepState.WAITING, StepState.UNKNOWN, StepState.COMPENSATING, StepState.REFUSED,
    )
]  # fmt: skip


def filter_by_states(sagas: QuerySet[Saga], states: Collection[SagaState]) -> QuerySet[Saga]:
    """Return the sagas in any of these states."""
    return sagas.filter(state__in=sorted(state.value for state in states))


def filter_by_needs(sagas: QuerySet[Saga], reason: str) -> QuerySet[Saga]:
    """Return the open sagas that are held or need attention: for this reason, or for any."""
    return sagas.filter(needs_operator()) if reason == ANY_REASON else filter_by_reason(sagas, reason)


def filter_by_definition(sagas: QuerySet[Saga], definition: str) -> QuerySet[Saga]:
    """Return the sagas of a definition: ``name`` for every version, ``name:version`` for one."""
    name, _, version = definition.partition(":")
    found = sagas.filter(definition=name)
    return found.filter(version=int(version)) if version else found


def filter_by_step(sagas: QuerySet[Saga], step: str) -> QuerySet[Saga]:
    """Return the open sagas that are at a step (held, live or waiting), also one that the code no longer has."""
    steps = SagaStep.objects.using(get_settings().database).filter(
        _is_there(), saga=OuterRef("pk"), name=step, state__in=AT_WORK
    )
    return sagas.filter(IS_OPEN, Exists(steps))


def filter_by_attempts(sagas: QuerySet[Saga], number: int) -> QuerySet[Saga]:
    """Return the sagas with a step that had at least so many attempts in one direction."""
    return sagas.filter(most_attempts__gte=number)


def filter_by_group(sagas: QuerySet[Saga], group: str) -> QuerySet[Saga]:
    """Return the sagas with an attempt of a failure group."""
    # The first condition is redundant; it lets PostgreSQL use the partial index of failures.
    attempts = SagaAttempt.objects.using(get_settings().database)
    failed = attempts.exclude(error_group="").filter(saga=OuterRef("pk"), error_group=group)
    return sagas.filter(Exists(failed))


def filter_by_failing(sagas: QuerySet[Saga], group: str) -> QuerySet[Saga]:
    """Return the open sagas that still fail with a failure group, not those that have recovered.

    That is: one of its steps is held, live or waiting, and its last ended attempt, in its present direction, is of the
    group.
    """
    attempts = SagaAttempt.objects.using(get_settings().database)
    same_way = attempts.filter(step=OuterRef("step"), direction=OuterRef("direction"))
    # One index lookup for each attempt of the group; a join could be planned the other way round, from all attempts.
    last = same_way.filter(ended_at__isnull=False).order_by("-number").values("number")[:1]
    is_back = Q(step__state=StepState.COMPENSATING.value)
    goes_on = is_back & Q(direction=Direction.COMPENSATION.value) | ~is_back & Q(direction=Direction.ACTION.value)
    failed = attempts.exclude(error_group="").filter(
        _is_there("step__"), goes_on, saga=OuterRef("pk"), error_group=group, step__state__in=AT_WORK,
        number=Subquery(last),
    )  # fmt: skip
    return sagas.filter(IS_OPEN, Exists(failed))


def filter_by_operated(sagas: QuerySet[Saga], operated: str) -> QuerySet[Saga]:
    """Return the sagas that an operator has operated on (``yes``), or that none has (``no``)."""
    return sagas.filter(operated_at__isnull=operated == "no")


def filter_by_start(sagas: QuerySet[Saga], window: str) -> QuerySet[Saga]:
    """Return the sagas started in a time window."""
    return sagas.filter(created_at__gte=Now() - TIME_WINDOWS[window].length)


def filter_by_end(sagas: QuerySet[Saga], closed: str) -> QuerySet[Saga]:
    """Return the sagas that are open, or were closed today or in a time window."""
    if closed == OPEN:
        return sagas.filter(IS_OPEN)
    if closed == TODAY:
        return sagas.filter(closed_at__gte=start_of_today())
    return sagas.filter(closed_at__gte=Now() - TIME_WINDOWS[closed].length)


def filter_since(sagas: QuerySet[Saga], at: datetime) -> QuerySet[Saga]:
    """Return the sagas started at a time or later."""
    return sagas.filter(created_at__gte=at)


def filter_until(sagas: QuerySet[Saga], at: datetime) -> QuerySet[Saga]:
    """Return the sagas started before a time."""
    return sagas.filter(created_at__lt=at)


def start_of_today() -> datetime:
    """Return the last midnight in UTC."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _is_there(prefix: str = "") -> Q:
    """Return the condition of a step that is held, live or waiting."""
    return (
        Q(**{f"{prefix}hold__isnull": False})
        | Q(**{f"{prefix}lease_token__isnull": False})
        | Q(**{f"{prefix}due_at__isnull": False})
    )
