"""Preview of an operation: what it would do to a saga now. Nothing is written.

The operation itself runs on a draft of the saga (``simulation``). The console shows the preview before it asks for a
reason; ``--dry-run`` prints it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from ..core.planner import StepView
from ..core.states import Direction, Effect, Kind, SagaState, StepState
from ..core.visible import escape
from ..engine import effects_left
from ..engine.store.snapshot import SagaSnapshot
from ..models import SagaStep
from ..participants.routing import participant_label
from . import choreographed, preconditions
from .actor import Actor
from .preconditions import Operation
from .presentation.times import describe_moment
from .simulation import (
    Simulation,
    assume_pivot,
    find_undecided_pivot,
    is_bound_back,
    list_notes,
    list_steps_left,
    look_ahead,
    simulate,
)

LABELS: Mapping[Operation, str] = {
    Operation.RETRY: "Retry now",
    Operation.COMPENSATE: "Force compensate",
    Operation.SKIP: "Skip step",
    Operation.MARK_SUCCEEDED: "Mark succeeded",
    Operation.MARK_REFUSED: "Mark refused",
    Operation.MARK_COMPENSATED: "Mark compensated",
    Operation.PAUSE: "Pause",
    Operation.RESUME: "Resume",
    Operation.CANCEL: "Cancel",
    Operation.ABANDON: "Abandon",
}

STEP_LABELS: Mapping[Operation, str] = {
    **{operation: f"{label}, step {{step}}" for operation, label in LABELS.items()},
    Operation.RETRY: "Retry {step} now",
    Operation.SKIP: "Skip {step}",
    Operation.MARK_SUCCEEDED: "Mark {step} as succeeded",
    Operation.MARK_REFUSED: "Mark {step} as refused",
    Operation.MARK_COMPENSATED: "Mark {step} as compensated",
}


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """Action or compensation that would run."""

    order: int
    """Position in the order, from 1; runs with the same number may run in parallel."""
    step: str
    """The step's name."""
    direction: Direction
    """Whether its action or its compensation runs."""
    kind: Kind
    """Compensatable, pivot or retriable."""
    participant: str
    """App label of the participant; empty when the code does not have the definition."""
    is_external: bool | None
    """Whether the step is external; None when the code does not have the definition."""
    note: str = ""
    """Its circumstances: live, held, waiting until a time."""


@dataclass(frozen=True, kw_only=True)
class LiveAttempt:
    """Attempt that a worker may be executing."""

    step: str
    """The step's name."""
    direction: Direction
    """Whether it executes the action or the compensation."""
    until: datetime
    """When its lease ends."""
    is_expired: bool
    """Whether its lease has already ended, so that it is about to be given up."""


@dataclass(frozen=True, kw_only=True)
class EffectLeft:
    """Effect that a step would leave behind."""

    step: str
    """The step's name."""
    effect: Effect
    """Yes or maybe."""
    key: str
    """The step key, by which the participant knows the effect."""


@dataclass(frozen=True, kw_only=True)
class OperationPreview:
    """What an operation would do now."""

    operation: Operation
    """The operation."""
    saga_id: UUID
    """The saga."""
    step: str | None
    """The step it applies to, or None for the whole saga."""
    revision: int
    """The saga's revision that the preview was made from."""
    history_count: int
    """The number of the last history row that the preview was made from."""
    position: str
    """Where the saga stands, in one line."""
    is_allowed: bool
    """Whether the operation would be performed now."""
    refusal: str
    """Why it would not be performed; empty when it would."""
    may_act: bool
    """Whether the actor has the permission; True when no actor was given."""
    is_repeat: bool
    """Whether it was done already."""
    outcome: str
    """What the saga does next, in a sentence; empty when the operation would not be performed."""
    runs: tuple[PlannedRun, ...] = ()
    """What runs next, in order."""
    undecided_pivot: str = ""
    """The pivot whose outcome an abort request waits for; empty when none does."""
    runs_if_refused: tuple[PlannedRun, ...] = ()
    """What runs instead if that pivot turns out not to have happened, in order."""
    left_behind: tuple[EffectLeft, ...] = ()
    """Effects that stay and are not compensated."""
    notes: tuple[str, ...] = ()
    """What the operator should know about the result, including what will not happen."""
    live: tuple[LiveAttempt, ...] = ()
    """Attempts that are live now."""

    @property
    def is_live(self) -> bool:
        """Whether an attempt is live and its lease has not ended."""
        return any(not live.is_expired for live in self.live)

    @property
    def label(self) -> str:
        """The operation's label."""
        return LABELS[self.operation]

    @property
    def summary(self) -> str:
        """The operation's label, with the step it applies to."""
        return STEP_LABELS[self.operation].format(step=self.step) if self.step else self.label

    def as_dict(self) -> dict[str, Any]:
        """Return the preview as JSON-able data.

        Shape: the fields by name (notes as ``impossible``); ids and times as text, tuples as lists.
        """
        data = {"impossible" if name == "notes" else name: value for name, value in asdict(self).items()}
        data["saga_id"] = str(self.saga_id)
        for live in data["live"]:
            live["until"] = live["until"].isoformat()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}

    def as_text(self) -> str:
        """Return the preview as lines of text, for a terminal."""
        lines = [
            f"Plan: {self.summary}, saga {self.saga_id}, revision {self.revision}",
            f"  now: {self.position}",
        ]
        if not self.is_allowed:
            lines.append(f"  nothing would be done: {self.refusal}")
        else:
            lines.append(f"  then: {self.outcome}")
        lines += [f"  live: {_describe_live(live)}" for live in self.live]
        lines += [f"  {run.order:>3}. {_describe_run(run)}" for run in self.runs]
        if self.undecided_pivot:
            lines.append(
                f"  instead, if {self.undecided_pivot} did not happen:" + ("" if self.runs_if_refused else " nothing")
            )
        lines += [f"  {run.order:>3}. {_describe_run(run)}" for run in self.runs_if_refused]
        lines += [f"  left behind: {left.step} (effect {left.effect}, key {left.key})" for left in self.left_behind]
        lines += [f"  note: {text}" for text in self.notes]
        return "\n".join(escape(line) for line in lines) + "\n"


def preview_operation(
    operation: Operation, saga_id: UUID, *, step: str | None = None, actor: Actor | None = None
) -> OperationPreview:
    """Return what an operation would do to a saga as it stands now.

    ``actor``: whose permission is checked; None: no permission is checked.
    Raises: SagaNotFound; BadRequest when a step is missing or not one of the saga's.
    Tx: none needed. Locks: none; a preview neither delays work nor waits for it.
    """
    snapshot = SagaSnapshot.load(saga_id)
    preconditions.require_step(snapshot, operation, step)
    return plan_on(snapshot, operation, step=step, actor=actor)


def plan_on(
    snapshot: SagaSnapshot, operation: Operation, *, step: str | None = None, actor: Actor | None = None
) -> OperationPreview:
    """Return the preview for a saga that was read already; the step has been checked."""
    may_act = actor is None or actor.may(preconditions.PERMISSIONS[operation])
    refusal = find_obstacle(snapshot, operation, step)
    if actor is not None and not may_act:
        refusal = f"{actor.name} lacks the permission sagas.{preconditions.PERMISSIONS[operation]}."
    plan = OperationPreview(
        operation=operation,
        saga_id=snapshot.saga.pk,
        step=step,
        revision=snapshot.saga.revision,
        history_count=snapshot.saga.history_count,
        position=preconditions.describe(snapshot),
        is_allowed=not refusal,
        refusal=refusal,
        may_act=may_act,
        is_repeat=bool(preconditions.find_repeat(snapshot, operation, step)),
        outcome="",
        live=tuple(_list_live(snapshot)),
    )
    if refusal:
        return plan
    if snapshot.saga.is_choreographed:
        outcome, left = choreographed.describe_outcome(snapshot, operation, step), effects_left.list_effects(snapshot)
        return replace(plan, outcome=outcome, left_behind=_list_left(left if operation is Operation.ABANDON else ()))
    return _preview(plan, simulate(snapshot, operation, step))


def find_obstacle(snapshot: SagaSnapshot, operation: Operation, step: str | None = None) -> str:
    """Return why an operation is not possible now, or that it was done already; empty when it is possible."""
    return preconditions.find_repeat(snapshot, operation, step) or choreographed.find_refusal(
        look_ahead(snapshot), operation, step
    )


def find_refusals_by_step(snapshot: SagaSnapshot, operation: Operation) -> dict[str, str]:
    """Return for every step why an operation on it is not possible now; an empty string when it is possible."""
    ahead = look_ahead(snapshot)
    return {
        row.name: preconditions.find_repeat(snapshot, operation, row.name)
        or choreographed.find_refusal(ahead, operation, row.name)
        for row in snapshot.steps
    }


def list_steps_to_retry(snapshot: SagaSnapshot) -> list[str]:
    """Return the steps that *retry now* would make due."""
    if snapshot.saga.is_choreographed:
        return list(dict.fromkeys(step for step, _ in choreographed.list_calls_to_retry(snapshot, None)))
    return preconditions.steps_to_retry(look_ahead(snapshot), None)


def _preview(plan: OperationPreview, simulation: Simulation) -> OperationPreview:
    if plan.operation is Operation.ABANDON:
        left = _list_left(simulation.draft.saga.effects_left or ())
        outcome = "The saga is closed as abandoned; nothing runs any more, and nothing can reopen it."
        return replace(plan, outcome=outcome, left_behind=left)
    pivot = find_undecided_pivot(simulation)
    return replace(
        plan,
        outcome=_describe_outcome(plan, simulation),
        runs=tuple(_list_runs(simulation)),
        undecided_pivot=pivot,
        runs_if_refused=tuple(_list_runs(assume_pivot(simulation, happened=False))) if pivot else (),
        notes=tuple(list_notes(simulation, plan.operation, plan.step)),
    )


def _list_left(effects: Iterable[Mapping[str, Any]]) -> tuple[EffectLeft, ...]:
    return tuple(EffectLeft(step=found["step"], effect=Effect(found["effect"]), key=found["key"]) for found in effects)


def _list_runs(simulation: Simulation) -> Iterator[PlannedRun]:
    """Yield what would run, rank after rank, as if every attempt succeeded."""
    left = list_steps_left(simulation)
    direction = Direction.COMPENSATION if is_bound_back(simulation) else Direction.ACTION
    ranks = list(dict.fromkeys(step.rank for step in left))
    for step in left:
        yield _describe_planned(simulation.draft, step, ranks.index(step.rank) + 1, direction)


def _describe_planned(snapshot: SagaSnapshot, step: StepView, order: int, direction: Direction) -> PlannedRun:
    definition = snapshot.definition
    declared = definition.step(step.name) if definition is not None else None
    return PlannedRun(
        order=order,
        step=step.name,
        direction=direction,
        kind=step.kind,
        participant=participant_label(definition, declared) if definition is not None and declared is not None else "",
        is_external=declared.external if declared is not None else None,
        note=_describe_note(snapshot, step, direction),
    )


def _describe_note(snapshot: SagaSnapshot, step: StepView, direction: Direction) -> str:
    if step.hold is not None:
        return f"held: {step.hold.value.replace('_', ' ')}"
    if step.lease_until is not None:
        is_its_own = (step.state is StepState.COMPENSATING) is (direction is Direction.COMPENSATION)
        return "live now" if is_its_own else "its action is live now and finishes first"
    if step.due_at is not None and step.due_at > snapshot.now:
        return f"waits until {describe_moment(step.due_at)}"
    if direction is Direction.ACTION and step.kind is Kind.PIVOT:
        return "nothing is compensated after it"
    return ""


def _describe_outcome(plan: OperationPreview, simulation: Simulation) -> str:
    view = simulation.view
    if view.state is SagaState.COMPLETED:
        return "The saga is completed."
    if view.state is SagaState.COMPENSATED:
        return "The saga is compensated; no effect is left to undo."
    hold, request = _describe_hold(plan, simulation), _describe_request(simulation)
    if hold or request:
        return " ".join(filter(None, (hold, request)))
    first = _name_first(simulation)
    if view.state is SagaState.COMPENSATING:
        wait = "once the live attempt has ended, " if plan.is_live else ""
        return f"The saga compensates: {wait}beginning with {first or 'nothing'}, in reverse order."
    return f"The saga continues with {first or 'its end'}."


def _describe_hold(plan: OperationPreview, simulation: Simulation) -> str:
    """Return what the remaining holds prevent; an empty string without any."""
    view = simulation.view
    if view.hold is not None:
        what = "Live attempts finish and are recorded; nothing else runs" if plan.is_live else "Nothing runs"
        return f"{what} until the hold ({view.hold.value.replace('_', ' ')}) ends."
    held = [step.name for step in view.steps if step.hold is not None]
    return f"The saga stays held at {', '.join(held)}." if held else ""


def _describe_request(simulation: Simulation) -> str:
    """Return the result of an abort request that is not granted at once; an empty string without any."""
    request = simulation.view.abort_request
    if pivot := find_undecided_pivot(simulation):
        onwards = _name_first(assume_pivot(simulation, happened=True))
        backwards = _name_first(assume_pivot(simulation, happened=False))
        return (
            f"The request to turn back ({request}) is kept until it is known whether {pivot} happened. If it did,"
            f" the request is void and the saga continues with {onwards or 'its end'}; if not, the saga compensates,"
            f" {_begin_back(backwards)}."
        )
    if request is None:
        return ""
    return (
        f"The request to turn back ({request}) is kept: once nothing holds the saga, it compensates,"
        f" {_begin_back(_name_first(simulation))}."
    )


def _begin_back(first: str) -> str:
    return f"beginning with {first}, in reverse order" if first else "with no effect to undo"


def _name_first(simulation: Simulation) -> str:
    """Return the step that would run first; an empty string when none would."""
    return next((step.name for step in list_steps_left(simulation)), "")


def _list_live(snapshot: SagaSnapshot) -> Iterator[LiveAttempt]:
    for row in snapshot.steps:
        if row.lease_until is not None:
            yield LiveAttempt(
                step=row.name,
                direction=_direction_of(row),
                until=row.lease_until,
                is_expired=row.lease_until <= snapshot.now,
            )


def _direction_of(row: SagaStep) -> Direction:
    return Direction.COMPENSATION if row.state == StepState.COMPENSATING else Direction.ACTION


def _describe_live(live: LiveAttempt) -> str:
    end = "its lease ended" if live.is_expired else "until"
    return f"{live.direction} of {live.step}, {end} {describe_moment(live.until)}" + (
        "" if live.is_expired else " at the latest"
    )


def _describe_run(run: PlannedRun) -> str:
    place = {True: "external", False: "local", None: "definition missing"}[run.is_external]
    who = f"{run.participant}, {place}" if run.participant else place
    return f"{run.direction} of {run.step} ({run.kind}; {who})" + (f": {run.note}" if run.note else "")
