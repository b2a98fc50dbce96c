"""Display states in SQL, for filters and counts.

Every condition on an open saga begins with ``closed_at IS NULL``: open sagas have their own index and are few compared
with closed ones, so few steps are looked up. Closed states are found by the index on state and age.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db.models import (
    Case,
    CharField,
    Count,
    DateTimeField,
    Exists,
    Expression,
    ExpressionWrapper,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Now

from ... import clock
from ...conf import get_settings
from ...core.states import FORWARD_STATES, Attention, Hold, SagaState, StepState, WaitingFor
from ...models import Saga, SagaStep
from .states import DisplayState

IS_OPEN = Q(closed_at__isnull=True)
IS_FORWARD = Q(state__in=sorted(state.value for state in FORWARD_STATES))
STEP_HOLDS = frozenset(Hold) - {Hold.PAUSED, Hold.DEFINITION_MISSING}


def filter_by_display(queryset: QuerySet[Saga], state: DisplayState) -> QuerySet[Saga]:
    """Return the sagas with a display state."""
    if state in CLOSED_STATES:
        return queryset.filter(state=CLOSED_STATES[state].value)
    conditions = _list_open_conditions()
    found = queryset.filter(IS_OPEN)
    for other, condition in conditions.items():
        if other is state:
            return found.filter(condition)
        found = found.exclude(condition)
    return found


def annotate_display_state(queryset: QuerySet[Saga], name: str = "display_state") -> QuerySet[Saga]:
    """Return the queryset with the display state of each saga under ``name``."""
    closed = [When(state=kept.value, then=Value(state.value)) for state, kept in CLOSED_STATES.items()]
    opened = [When(condition, then=Value(state.value)) for state, condition in _list_open_conditions().items()]
    display = Case(*closed, *opened, default=Value(DisplayState.RUNNING.value), output_field=CharField())
    return queryset.annotate(**{name: display})


def count_open() -> list[dict[str, Any]]:
    """Count the open sagas by definition and display state.

    Shape: ``[{"definition", "display_state", "count"}]``.
    """
    opened = annotate_display_state(Saga.objects.using(get_settings().database).filter(IS_OPEN).order_by())
    counted = opened.values("definition", "display_state").annotate(count=Count("pk"))  # type: ignore[misc]
    return list(counted.order_by("definition", "display_state"))  # type: ignore[misc]


def select_open_states() -> QuerySet[Saga, Any]:
    """Return the query that counts the open sagas of each display state, as ``display_state`` and ``sagas``."""
    opened = annotate_display_state(Saga.objects.using(get_settings().database).filter(IS_OPEN).order_by())
    return opened.values("display_state").annotate(sagas=Count("pk"))  # type: ignore[misc]


def needs_operator() -> Q:
    """Return the condition of a saga that an operator must see: held, or with a reason for attention."""
    return IS_OPEN & (~Q(attention=[]) | _is_held())


def filter_by_reason(queryset: QuerySet[Saga], reason: str) -> QuerySet[Saga]:
    """Return the sagas that need an operator for a reason: a hold or an attention."""
    found = queryset.filter(IS_OPEN)
    if reason in {attention.value for attention in Attention}:
        return found.filter(_pays_attention(Attention(reason)))
    if Hold(reason) in STEP_HOLDS:
        return found.filter(Q(hold=reason) | _has_step(hold=reason))
    return found.filter(hold=reason)


CLOSED_STATES: Mapping[DisplayState, SagaState] = {
    DisplayState.COMPLETED: SagaState.COMPLETED,
    DisplayState.COMPENSATED: SagaState.COMPENSATED,
    DisplayState.ABANDONED: SagaState.ABANDONED,
}


def _list_open_conditions() -> dict[DisplayState, Q]:
    """Return the condition of each display state of open sagas, in the order of ``DisplayState``; the first counts."""
    is_back = Q(state=SagaState.COMPENSATING.value)
    is_answer = _has_step(state=StepState.WAITING.value, waiting_for=WaitingFor.ANSWER.value)
    is_going = _has_step(lease_token__isnull=False)
    return {
        DisplayState.HELD: _is_held(),
        DisplayState.COMPENSATION_FAILING: is_back & _pays_attention(Attention.COMPENSATION_FAILING),
        DisplayState.COMPENSATING: is_back,
        DisplayState.RETRIES_EXHAUSTED: _pays_attention(Attention.RETRIES_EXHAUSTED),
        DisplayState.OVERDUE: IS_FORWARD & (_pays_attention(Attention.OVERDUE) | Q(deadline_at__lte=_now())),
        DisplayState.RUNNING: is_going | _is_between_steps(),
        DisplayState.OUTCOME_UNKNOWN: _has_step(state=StepState.UNKNOWN.value),
        DisplayState.WAITING_FOR_RETRY: _has_step(
            ~Q(waiting_for__in=[WaitingFor.ANSWER.value, WaitingFor.EVENT.value]), state=StepState.WAITING.value
        ),
        DisplayState.WAITING_FOR_ANSWER: is_answer,
        DisplayState.WAITING_FOR_EVENT: _has_step(state=StepState.WAITING.value, waiting_for=WaitingFor.EVENT.value),
        DisplayState.PENDING: Q(state=SagaState.PENDING.value),
    }


def _is_held() -> Q:
    return Q(hold__isnull=False) | _has_step(hold__isnull=False)


def _is_between_steps() -> Q:
    """Return the condition of a running saga without a waiting step: the next one is due."""
    waits = _has_step(state__in=[StepState.WAITING.value, StepState.UNKNOWN.value])
    return Q(state=SagaState.RUNNING.value) & ~waits


def _has_step(*conditions: Q, **values: Any) -> Q:
    return Q(Exists(SagaStep.objects.using(get_settings().database).filter(*conditions, saga=OuterRef("pk"), **values)))


def _pays_attention(reason: Attention) -> Q:
    return Q(attention__contains=[reason.value])


def _now() -> Expression:
    """Return the engine's clock as an expression of the database."""
    shift = timedelta(seconds=clock.shift_seconds())
    return ExpressionWrapper(Now() + Value(shift), output_field=DateTimeField())
