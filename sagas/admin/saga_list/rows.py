"""Rows of the list of sagas."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, QuerySet

from ... import clock
from ...models import Saga, SagaKey, SagaStep
from ...models.fields import database_now
from ...operators.presentation import Badge, badge_of_saga, current_step
from ...operators.presentation.sentences import count_attempts
from ...operators.presentation.times import describe_span
from ...operators.visibility import show_error
from ..ui.formatting import Moment, show_moment

ERROR_CHARS = 120


@dataclass(frozen=True, kw_only=True)
class ListRow:
    """Row of one saga in the list."""

    badge: Badge
    """Badge of its state."""
    keys: tuple[tuple[str, str], ...]
    """Its business keys."""
    step: str
    """Current step; empty for a closed saga."""
    attempts: str
    """Attempts of that step in words; for a closed saga, of all steps."""
    age: str
    """Time since the start."""
    started: Moment
    """Time of the start."""
    due: Moment | None
    """When it is due next."""
    error: str
    """Last error, in one line."""


def select_for_list(queryset: QuerySet[Saga], *, with_results: bool = False) -> QuerySet[Saga]:
    """Return the sagas with what a row needs, in three statements however many rows.

    ``with_results``: read whole steps, as preconditions need them.
    """
    steps = SagaStep.objects.using(queryset.db).order_by("position")
    wanted = steps if with_results else steps.defer("result")
    sagas = with_keys(queryset.defer("input", "effects_left").annotate(db_now=database_now()))
    return sagas.prefetch_related(Prefetch("steps", wanted, to_attr="listed_steps"))


def with_keys(queryset: QuerySet[Saga]) -> QuerySet[Saga]:
    """Return the sagas with their business keys as ``listed_keys``, in the order in which they were given."""
    keys = SagaKey.objects.using(queryset.db).order_by("pk")
    return queryset.prefetch_related(Prefetch("keys", keys, to_attr="listed_keys"))


def attach_rows(sagas: Iterable[Saga], *, with_errors: bool) -> list[Saga]:
    """Attach its row to each saga, as ``console_row``."""
    listed = list(sagas)
    for saga in listed:
        now = clock.shifted(saga.db_now)  # type: ignore[attr-defined]
        saga.console_row = _build_row(saga, now, with_errors)  # type: ignore[attr-defined]
    return listed


def row_of(saga: Saga) -> ListRow:
    """Return the attached row."""
    row: ListRow = saga.console_row  # type: ignore[attr-defined]
    return row


def _build_row(saga: Saga, now: datetime, with_errors: bool) -> ListRow:
    steps: list[SagaStep] = saga.listed_steps  # type: ignore[attr-defined]
    keys: list[SagaKey] = saga.listed_keys  # type: ignore[attr-defined]
    at = current_step(saga, steps)
    total = sum(step.action_attempts + step.compensation_attempts for step in steps)
    return ListRow(
        badge=badge_of_saga(saga, steps, now),
        keys=tuple((key.name, key.value) for key in keys),
        step=at.name if at is not None else "",
        attempts=count_attempts(at, saga).partition(",")[0] if at is not None else f"{total} in all",
        age=describe_span(now - saga.created_at),
        started=show_moment(saga.created_at, now),
        due=show_moment(saga.due_at, now) if saga.due_at else None,
        error=_find_error(saga, at, with_errors),
    )


def _find_error(saga: Saga, at: SagaStep | None, with_errors: bool) -> str:
    """Return the last error of the current step, else the cause of the compensation."""
    cause = saga.cause or {}
    caused = f"{cause['error_class']}: {cause.get('message', '')}" if cause.get("error_class") else ""
    text = (at.last_error if at is not None else "") or caused
    return cut_error(show_error(text, with_errors=with_errors))


def cut_error(text: str) -> str:
    """Return an error in one line, with the name of its class but without its module."""
    lines = text.splitlines()
    path, colon, message = (lines[0] if lines else "").partition(":")
    first = f"{path.rpartition('.')[2]}{colon}{message}"
    return first if len(first) <= ERROR_CHARS else f"{first[:ERROR_CHARS]}…"
