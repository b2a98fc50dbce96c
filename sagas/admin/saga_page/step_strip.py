"""Strip of steps on the page of a saga: where it stands, at a glance."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...core.states import Kind
from ...engine.store.snapshot import SagaSnapshot
from ...models import Saga, SagaStep
from ...operators.presentation import Badge, badge_of_step, current_step
from ...operators.presentation.debts import list_debts_of
from ...operators.presentation.sentences import count_attempts
from ..ui.formatting import show_duration
from ..ui.page_selection import Selection, Tab

MOST_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class StripStep:
    """One step of the strip."""

    name: str
    badge: Badge
    detail: str
    """Kind, attempts and duration, as far as they say something."""
    is_current: bool
    """Whether the saga is at this step."""
    url: str
    """Query that selects it in the view of steps."""


@dataclass(frozen=True, kw_only=True)
class StepStrip:
    """Steps around the current one."""

    steps: tuple[StripStep, ...]
    before: int
    """Number of steps before them that are not shown."""
    after: int
    """Number of steps after them that are not shown."""


def build_strip(snapshot: SagaSnapshot, selection: Selection) -> StepStrip:
    """Return the strip, with at most ``MOST_STEPS`` steps around the current one."""
    saga, steps = snapshot.saga, snapshot.steps
    current = current_step(saga, steps)
    place = steps.index(current) if current is not None else 0
    begin = max(0, min(place - MOST_STEPS // 2, len(steps) - MOST_STEPS))
    shown = steps[begin : begin + MOST_STEPS]
    return StepStrip(
        steps=tuple(
            StripStep(
                name=step.name,
                badge=badge_of_step(step, saga),
                detail=" · ".join(_list_details(step, saga, snapshot)),
                is_current=step is current,
                url=selection.url_of_tab(Tab.STEPS, step.name),
            )
            for step in shown
        ),
        before=begin,
        after=len(steps) - begin - len(shown),
    )


def _list_details(step: SagaStep, saga: Saga, snapshot: SagaSnapshot) -> Iterator[str]:
    if step.kind != Kind.COMPENSATABLE:
        yield step.kind
    if step.action_attempts + step.compensation_attempts > 1:
        yield f"{count_attempts(step, saga)} attempts"
    yield from list_debts_of(saga, step.name, snapshot.now)
    if step.started_at and step.finished_at:
        yield show_duration(step.started_at, step.finished_at, snapshot.now)
