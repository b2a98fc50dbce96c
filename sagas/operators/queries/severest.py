"""The open sagas that an operator should see first, with what a line about each needs, in one statement."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db.models import Case, OuterRef, QuerySet, Subquery, When

from ... import clock
from ...conf import get_settings
from ...core.history_events import HistoryEvent
from ...core.severity import Severity
from ...models import Saga, SagaHistory, SagaKey, SagaStep
from ...models.fields import database_now


@dataclass(frozen=True, kw_only=True)
class SevereSaga:
    """Open saga that needs attention."""

    saga: Saga
    """Without its input."""
    steps: list[SagaStep]
    """In order, without their results."""
    key: str
    """The first business key that was given; empty without keys."""
    since: datetime
    """When its newest hold or reason for attention began."""
    now: datetime
    """When it was read."""


def read_severest(limit: int, *, without: Collection[str] = ()) -> list[SevereSaga]:
    """Return the sagas that need attention, the most severe and then the newest first.

    ``without``: failure groups whose sagas are left out.
    """
    using = get_settings().database
    severest = Saga.objects.using(using).filter(closed_at=None, severity__lt=Severity.OPEN.value)
    wanted = severest.exclude(failing_group__in=without).order_by("severity", "-created_at", "-id")[:limit]
    steps = SagaStep.objects.using(using).filter(saga__in=wanted.values("pk")).select_related("saga")
    keys = SagaKey.objects.using(using).filter(saga=OuterRef("saga")).order_by("pk")
    # Once for a saga: with its first step.
    rows = (
        steps.defer("result", "saga__input", "saga__effects_left")
        .annotate(
            db_now=database_now(),
            key=Case(When(position=0, then=Subquery(keys.values("value")[:1]))),
            since=Case(When(position=0, then=Subquery(_select_reasons(using).values("at")[:1]))),
        )
        .order_by("saga__severity", "-saga__created_at", "-saga_id", "position")
    )
    return [_build(list(found)) for _, found in groupby(rows, key=lambda step: step.saga_id)]


def _select_reasons(using: str) -> QuerySet[SagaHistory]:
    """Return the entries that raised a reason, the newest first."""
    raised = [HistoryEvent.HELD.value, HistoryEvent.ATTENTION_RAISED.value]
    return SagaHistory.objects.using(using).filter(saga=OuterRef("saga"), what__in=raised).order_by("-number")


def _build(steps: list[Any]) -> SevereSaga:
    first = steps[0]
    return SevereSaga(
        saga=first.saga, steps=steps, key=first.key or "", since=first.since or first.saga.created_at,
        now=clock.shifted(first.db_now),
    )  # fmt: skip
