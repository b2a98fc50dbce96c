"""Strip of steps on the page of a saga: where it stands, at a glance."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...choreography.definition import find
from ...core.states import Kind
from ...engine.store.snapshot import SagaSnapshot
from ...models import Saga, SagaStep
from ...operators.presentation import Badge, badge_of_step, current_step
from ...operators.presentation.debts import badge_of_expected, list_waits_of
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
    """URL that selects it in the view of steps, or in the flow."""


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
    tab = Tab.FLOW if saga.is_choreographed else Tab.STEPS
    current = current_step(saga, steps)
    place = steps.index(current) if current is not None else 0
    begin = max(0, min(place - MOST_STEPS // 2, len(steps) - MOST_STEPS))
    shown = steps[begin : begin + MOST_STEPS]
    return StepStrip(
        steps=tuple(
            StripStep(
                name=step.name,
                badge=_badge_of(step, snapshot),
                detail=" · ".join(_list_details(step, saga, snapshot)),
                is_current=step is current,
                url=f"{selection.url_of_tab(tab, step.name)}#{tab}",
            )
            for step in shown
        ),
        before=begin,
        after=len(steps) - begin - len(shown),
    )


def _badge_of(step: SagaStep, snapshot: SagaSnapshot) -> Badge:
    is_choreographed = snapshot.saga.is_choreographed
    return (badge_of_expected(step, snapshot.saga, snapshot.now) if is_choreographed else None) or badge_of_step(
        step, snapshot.saga
    )


def _list_details(step: SagaStep, saga: Saga, snapshot: SagaSnapshot) -> Iterator[str]:
    if step.kind != Kind.COMPENSATABLE:
        yield step.kind
    if step.action_attempts + step.compensation_attempts > 1:
        yield f"{count_attempts(step, saga)} attempts"
    definition = find(saga.definition, saga.version)
    if definition is not None:
        yield definition.step(step.name).participant
    yield from list_waits_of(saga, step.name, snapshot.now)
    if step.started_at and step.finished_at:
        yield show_duration(step.started_at, step.finished_at, snapshot.now)
