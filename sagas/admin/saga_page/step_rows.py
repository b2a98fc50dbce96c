"""Turn the steps of one saga into the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...engine.store.snapshot import SagaSnapshot
from ...models import Saga, SagaAttempt, SagaStep
from ...operators.presentation import Badge, badge_of_step
from ...operators.presentation.sentences import count_attempts, show_error
from ..ui.excerpt import Folded, fold_error
from ..ui.formatting import Moment, show_duration, show_moment
from ..ui.selection import Selection, Tab
from .json_text import JsonText, show_json_text
from .payloads import payload_url


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """Show a step."""

    number: int
    """Place in the definition, from 1."""
    name: str
    """Its name."""
    kind: str
    """Compensatable, pivot or retriable."""
    group: str
    """With which others it runs side by side, in words; empty for one by itself."""
    badge: Badge
    """Where it stands."""
    effect: str
    """What it has done to the world."""
    attempts: str
    """How many of how many."""
    due: Moment | None
    """When it is tried or asked again."""
    duration: str
    """From its first attempt to its end."""
    worker: str
    """Who ran its latest attempt."""
    error: Folded
    """The last error; its class alone for those who may not see more."""
    result: JsonText | None
    """What it returned; None without it, or without the permission."""
    is_chosen: bool
    """Whether the reader has chosen it."""
    url: str
    """The query that chooses it, among the steps."""
    timeline_url: str
    """The query that shows its attempts."""


def list_step_rows(
    snapshot: SagaSnapshot, selection: Selection, results: Mapping[str, str] | None, *, site: str, may_see: bool
) -> list[StepRow]:
    """Return a row for every step. ``results``: JSON texts by step name; None: the view does not show any."""
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
            error=fold_error(show_error(step.last_error, with_errors=may_see)),
            result=_show_result(step, results, site),
            is_chosen=step.name == selection.step,
            url=selection.url_of_tab(Tab.STEPS, step.name),
            timeline_url=selection.url_of_tab(Tab.TIMELINE, step.name),
        )
        for step in snapshot.steps
    ]


def show_attempts(step: SagaStep, saga: Saga) -> str:
    """Return how many attempts a step has made of how many, back and forward."""
    counted = count_attempts(step, saga)
    if not step.compensation_attempts:
        return counted
    return f"{counted} back, {step.action_attempts} forward"


def _find_latest(snapshot: SagaSnapshot) -> dict[int, SagaAttempt]:
    return {attempt.step_id: attempt for attempt in snapshot.attempts()}


def _describe_groups(snapshot: SagaSnapshot) -> dict[int, str]:
    """Return for each rank what is said of the steps in it."""
    sizes: dict[int, int] = {}
    for step in snapshot.steps:
        sizes[step.rank] = sizes.get(step.rank, 0) + 1
    return {rank: f"one of {size} side by side" if size > 1 else "" for rank, size in sizes.items()}


def _show_result(step: SagaStep, results: Mapping[str, str] | None, site: str) -> JsonText | None:
    if results is None or step.name not in results:
        return None
    return show_json_text(results[step.name], payload_url(site, step.saga_id, of="result", step=step.name))
