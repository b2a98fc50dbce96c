"""Timeline of one saga, drawn from all its attempts."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from django.templatetags.static import static
from django.utils.safestring import SafeString

from ...core.states import CLOSED_STATES, Direction, Outcome
from ...engine.store.snapshot import SagaSnapshot
from ...models import SagaAttempt, SagaStep
from ...operators.presentation.badges import Badge, Tone, in_words
from ...operators.presentation.drawing.timeline import Bar, Lane, Timeline, Wait, draw_timeline
from ...operators.presentation.times import describe_moment, describe_span
from ..ui.page_selection import Selection, Tab
from .graph_view import ICONS

LIVE = Badge(word="live", icon="play", tone=Tone.ACTIVE)
LOST = Badge(word="live, its lease has ended", icon="warning", tone=Tone.URGENT)
COMPENSATED = Badge(word="compensated", icon="returned", tone=Tone.BACK)
OUTCOMES = {
    Outcome.SUCCEEDED: Badge(word="succeeded", icon="check", tone=Tone.GOOD),
    Outcome.REFUSED: Badge(word="refused", icon="cross", tone=Tone.BACK),
    Outcome.RETRY: Badge(word="retry", icon="repeat", tone=Tone.WAITING),
    Outcome.IN_PROGRESS: Badge(word="in progress", icon="hourglass", tone=Tone.WAITING),
    Outcome.UNKNOWN: Badge(word="unknown", icon="question", tone=Tone.WAITING),
    Outcome.MISCONFIGURED: Badge(word="misconfigured", icon="hand", tone=Tone.URGENT),
    Outcome.FENCED: Badge(word="fenced", icon="dash", tone=Tone.QUIET),
}
UNSETTLED = frozenset({Outcome.RETRY, Outcome.IN_PROGRESS, Outcome.UNKNOWN, Outcome.MISCONFIGURED})


def draw_attempts(snapshot: SagaSnapshot, selection: Selection) -> SafeString:
    """Return the timeline as SVG; empty without attempts."""
    lanes = tuple(_list_lanes(snapshot, selection))
    if not lanes:
        return SafeString("")
    begin = snapshot.saga.created_at
    end = max(snapshot.saga.closed_at or snapshot.now, *(_end_of(attempt, snapshot) for attempt in snapshot.attempts()))
    timeline = Timeline(
        lanes=lanes,
        begin=0.0,
        end=(end - begin).total_seconds(),
        marks=tuple(_list_marks(snapshot, end)),
        title=f"Timeline of {snapshot.saga.definition}, from {describe_moment(begin)} to {describe_moment(end)}",
        description=" ".join(_describe_lane(lane) for lane in lanes),
        format_time=lambda seconds: f"{begin + timedelta(seconds=seconds):%H:%M:%S}",
        format_span=lambda seconds: describe_span(timedelta(seconds=seconds)),
    )
    return SafeString(draw_timeline(timeline))


def badge_of_attempt(attempt: SagaAttempt, snapshot: SagaSnapshot) -> Badge:
    """Return the badge of an attempt's outcome, or of a live attempt."""
    if attempt.outcome is None:
        return LIVE if _lease_of(attempt, snapshot) > snapshot.now else LOST
    outcome = Outcome(attempt.outcome)
    if attempt.direction == Direction.COMPENSATION and outcome is Outcome.SUCCEEDED:
        return COMPENSATED
    return OUTCOMES[outcome]


def list_legend(snapshot: SagaSnapshot) -> list[Badge]:
    """Return the badges that occur in the timeline, each once."""
    return list({badge.word: badge for badge in (badge_of_attempt(a, snapshot) for a in snapshot.attempts())}.values())


def _list_lanes(snapshot: SagaSnapshot, selection: Selection) -> Iterator[Lane]:
    found: dict[tuple[int, str], list[SagaAttempt]] = {}
    for attempt in snapshot.attempts():
        found.setdefault((attempt.step_id, attempt.direction), []).append(attempt)
    for direction in Direction:
        is_back = direction is Direction.COMPENSATION
        for step in reversed(snapshot.steps) if is_back else snapshot.steps:
            attempts = found.get((step.pk, direction.value))
            if attempts:
                yield Lane(
                    name=step.name,
                    is_back=is_back,
                    bars=tuple(_bar(attempt, step, snapshot) for attempt in attempts),
                    waits=tuple(_list_waits(attempts, step, snapshot)),
                    url=f"{selection.url_of_tab(Tab.TIMELINE, step.name)}#attempts",
                    is_chosen=step.name == selection.step,
                )


def _bar(attempt: SagaAttempt, step: SagaStep, snapshot: SagaSnapshot) -> Bar:
    badge, end = badge_of_attempt(attempt, snapshot), _end_of(attempt, snapshot)
    word = f"{badge.word} (decided by an operator)" if attempt.is_assumed else badge.word
    took = describe_span(end - attempt.started_at)
    return Bar(
        start=_seconds(attempt.started_at, snapshot),
        end=_seconds(end, snapshot),
        word=word,
        tone=badge.tone.value,
        icon_url=f"{static(ICONS)}#{badge.icon}",
        label=f"{step.name}, {attempt.direction} {attempt.number}: {word}, {took}",
    )


def _list_waits(attempts: Sequence[SagaAttempt], step: SagaStep, snapshot: SagaSnapshot) -> Iterator[Wait]:
    """Yield the spans in which a step waited for its next attempt or for an operator."""
    for before, after in pairwise(attempts):
        if before.ended_at and before.outcome in UNSETTLED and after.started_at > before.ended_at:
            yield _wait(step, before.ended_at, after.started_at, f"after {in_words(before.outcome)}", snapshot)
    last = attempts[-1]
    latest = max(attempt.pk for attempt in snapshot.attempts() if attempt.step_id == step.pk)
    if last.ended_at is None or last.pk != latest:
        return
    if step.hold:
        yield _wait(step, last.ended_at, snapshot.now, f"held, {in_words(step.hold)}", snapshot)
    elif step.due_at is not None:
        yield _wait(step, last.ended_at, snapshot.now, f"after {in_words(last.outcome or '')}", snapshot)


def _wait(step: SagaStep, start: datetime, end: datetime, why: str, snapshot: SagaSnapshot) -> Wait:
    label = f"{step.name} waited {describe_span(end - start)}, {why}"
    return Wait(start=_seconds(start, snapshot), end=_seconds(end, snapshot), label=label)


def _list_marks(snapshot: SagaSnapshot, end: datetime) -> Iterator[tuple[float, str]]:
    saga = snapshot.saga
    if saga.deadline_at and saga.created_at < saga.deadline_at < end:
        yield _seconds(saga.deadline_at, snapshot), "deadline"
    yield _seconds(end, snapshot), in_words(saga.state) if saga.state in CLOSED_STATES else "now"


def _describe_lane(lane: Lane) -> str:
    kind = "compensated" if lane.is_back else "tried"
    times = "once" if len(lane.bars) == 1 else f"{len(lane.bars)} times"
    return f"{lane.name} was {kind} {times}, the last time: {lane.bars[-1].word}."


def _lease_of(attempt: SagaAttempt, snapshot: SagaSnapshot) -> datetime:
    step = next((step for step in snapshot.steps if step.pk == attempt.step_id), None)
    return (step.lease_until if step else None) or attempt.deadline_at


def _end_of(attempt: SagaAttempt, snapshot: SagaSnapshot) -> datetime:
    return attempt.ended_at or snapshot.now


def _seconds(moment: datetime, snapshot: SagaSnapshot) -> float:
    return (moment - snapshot.saga.created_at).total_seconds()
