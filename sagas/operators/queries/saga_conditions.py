"""The conditions that a filter of sagas puts on a queryset; each of them is found by an index."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from ...conf import get_settings
from ...core.states import Direction, SagaState, StepState
from ...models import Saga, SagaAttempt, SagaStep
from ..presentation import filter_by_reason, needs_person
from ..presentation.filters import IS_OPEN
from ..time_windows import TIME_WINDOWS

ANY_REASON = "any"
OPEN, TODAY = "no", "today"
# Where a step is neither over nor yet to come.
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
    """Return the open sagas that are held or have a reason for attention: this one, or any."""
    return sagas.filter(needs_person()) if reason == ANY_REASON else filter_by_reason(sagas, reason)


def filter_by_definition(sagas: QuerySet[Saga], definition: str) -> QuerySet[Saga]:
    """Return the sagas of a definition: ``name`` for every version, ``name:version`` for one."""
    name, _, version = definition.partition(":")
    found = sagas.filter(definition=name)
    return found.filter(version=int(version)) if version else found


def filter_by_step(sagas: QuerySet[Saga], step: str) -> QuerySet[Saga]:
    """Return the open sagas that are at a step: it is held, live or waits; also at one that the code has lost."""
    steps = SagaStep.objects.using(get_settings().database).filter(
        _is_there(), saga=OuterRef("pk"), name=step, state__in=AT_WORK
    )
    return sagas.filter(IS_OPEN, Exists(steps))


def filter_by_attempts(sagas: QuerySet[Saga], number: int) -> QuerySet[Saga]:
    """Return the sagas one of whose steps had at least so many attempts in one direction."""
    return sagas.filter(most_attempts__gte=number)


def filter_by_group(sagas: QuerySet[Saga], group: str) -> QuerySet[Saga]:
    """Return the sagas with an attempt of a failure group."""
    # Said twice, so that the index of failures alone is seen to fit.
    attempts = SagaAttempt.objects.using(get_settings().database)
    failed = attempts.exclude(error_group="").filter(saga=OuterRef("pk"), error_group=group)
    return sagas.filter(Exists(failed))


def filter_by_failing(sagas: QuerySet[Saga], group: str) -> QuerySet[Saga]:
    """Return the open sagas that are at a failure group still, not those that have got over it.

    That is: one of its steps is held, live or waits, and its last attempt that ended, in the direction it goes, was of
    the group.
    """
    attempts = SagaAttempt.objects.using(get_settings().database)
    same_way = attempts.filter(step=OuterRef("step"), direction=OuterRef("direction"))
    # One look by index for each attempt of the group; a join could be read the other way round, from all attempts.
    last = same_way.filter(ended_at__isnull=False).order_by("-number").values("number")[:1]
    is_back = Q(step__state=StepState.COMPENSATING.value)
    goes_on = is_back & Q(direction=Direction.COMPENSATION.value) | ~is_back & Q(direction=Direction.ACTION.value)
    failed = attempts.exclude(error_group="").filter(
        _is_there("step__"), goes_on, saga=OuterRef("pk"), error_group=group, step__state__in=AT_WORK,
        number=Subquery(last),
    )  # fmt: skip
    return sagas.filter(IS_OPEN, Exists(failed))


def filter_by_touch(sagas: QuerySet[Saga], operated: str) -> QuerySet[Saga]:
    """Return the sagas that an operator has acted on (``yes``), or that none has (``no``)."""
    return sagas.filter(operated_at__isnull=operated == "no")


def filter_by_start(sagas: QuerySet[Saga], window: str) -> QuerySet[Saga]:
    """Return the sagas started in a window."""
    return sagas.filter(created_at__gte=Now() - TIME_WINDOWS[window].length)


def filter_by_end(sagas: QuerySet[Saga], closed: str) -> QuerySet[Saga]:
    """Return the sagas that are open, or were closed today or in a window."""
    if closed == OPEN:
        return sagas.filter(IS_OPEN)
    if closed == TODAY:
        return sagas.filter(closed_at__gte=start_of_today())
    return sagas.filter(closed_at__gte=Now() - TIME_WINDOWS[closed].length)


def filter_since(sagas: QuerySet[Saga], at: datetime) -> QuerySet[Saga]:
    """Return the sagas started then or later."""
    return sagas.filter(created_at__gte=at)


def filter_until(sagas: QuerySet[Saga], at: datetime) -> QuerySet[Saga]:
    """Return the sagas started before then."""
    return sagas.filter(created_at__lt=at)


def start_of_today() -> datetime:
    """Return the last midnight in UTC."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _is_there(prefix: str = "") -> Q:
    """Return the condition of a step that is held, live or waits."""
    return (
        Q(**{f"{prefix}hold__isnull": False})
        | Q(**{f"{prefix}lease_token__isnull": False})
        | Q(**{f"{prefix}due_at__isnull": False})
    )
