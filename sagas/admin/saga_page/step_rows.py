"""Rows of the table of steps of one saga."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...engine.store.snapshot import SagaSnapshot
from ...models import Saga, SagaAttempt, SagaStep
from ...operators.presentation import Badge, badge_of_step
from ...operators.presentation.sentences import count_attempts
from ...operators.visibility import show_error
from ..ui.excerpt import Folded, fold_error
from ..ui.formatting import Moment, show_duration, show_moment
from ..ui.page_selection import Selection, Tab
from .json_text import JsonText, show_json_text
from .payloads import payload_url


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """Row of one step."""

    number: int
    """Position in the definition, from 1."""
    name: str
    """Its name."""
    kind: str
    """Compensatable, pivot or retriable."""
    group: str
    """Size of its parallel group in words; empty for a step by itself."""
    badge: Badge
    """Badge of its state."""
    effect: str
    """Effect: none, maybe, yes or removed."""
    attempts: str
    """Attempts used and allowed, in words."""
    due: Moment | None
    """When it is due next."""
    duration: str
    """From its first attempt to its end."""
    worker: str
    """Worker of its latest attempt."""
    error: Folded
    """Last error; its class alone without the permission."""
    result: JsonText | None
    """Its result; None if there is none, or without the permission."""
    is_chosen: bool
    """Whether the URL selects it."""
    url: str
    """Query that selects it in the view of steps."""
    timeline_url: str
    """Query that shows its attempts."""


def list_step_rows(
    snapshot: SagaSnapshot, selection: Selection, results: Mapping[str, str] | None, *, site: str, with_errors: bool
) -> list[StepRow]:
    """Return a row for every step. ``results``: JSON texts by step name; None: results are not shown."""
    effects, latest = snapshot.effects(), _find_latest(snapshot)
    groups = _describe_groups(snapshot)
    return [
        StepRow(
            number=step.position + 1,
            name=step.name,
            kind=step.kind,
            group=groups[step.rank],
            badge=badge_of_step(step, snapshot.saga),
            effect=effects[step.name].value,
            attempts=show_attempts(step, snapshot.saga),
            due=show_moment(step.due_at, snapshot.now) if step.due_at else None,
            duration=show_duration(step.started_at, step.finished_at, snapshot.now),
            worker=latest[step.pk].worker if step.pk in latest else "",
            error=fold_error(show_error(step.last_error, with_errors=with_errors)),
            result=_show_result(step, results, site),
            is_chosen=step.name == selection.step,
            url=selection.url_of_tab(Tab.STEPS, step.name),
            timeline_url=selection.url_of_tab(Tab.TIMELINE, step.name),
        )
        for step in snapshot.steps
    ]


def show_attempts(step: SagaStep, saga: Saga) -> str:
    """Return the attempts of a step used and allowed, in words; after a compensation attempt also those forward."""
    counted = count_attempts(step, saga)
    if not step.compensation_attempts:
        return counted
    return f"{counted} back, {step.action_attempts} forward"


def _find_latest(snapshot: SagaSnapshot) -> dict[int, SagaAttempt]:
    return {attempt.step_id: attempt for attempt in snapshot.attempts()}


def _describe_groups(snapshot: SagaSnapshot) -> dict[int, str]:
    """Return for each rank the description of its parallel group."""
    sizes: dict[int, int] = {}
    for step in snapshot.steps:
        sizes[step.rank] = sizes.get(step.rank, 0) + 1
    return {rank: f"one of {size} in parallel" if size > 1 else "" for rank, size in sizes.items()}


def _show_result(step: SagaStep, results: Mapping[str, str] | None, site: str) -> JsonText | None:
    if results is None or step.name not in results:
        return None
    return show_json_text(results[step.name], payload_url(site, step.saga_id, of="result", step=step.name))
