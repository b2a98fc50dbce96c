"""Checks after every move: the engine's own invariants, and the engine's rows against the real effects."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from sagas.core.states import UNDOABLE_EFFECTS, Direction, Effect, Kind, Outcome, SagaState, StepState
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaStep
from sagas.testing import find_violations

from .specs import Place, SagaSpec, StepSpec, Undo
from .stage import Stage
from .world import ENGINE, World

STEP_EVENTS = frozenset({
    "step_claimed", "step_succeeded", "step_refused", "step_waiting", "step_unknown", "step_skipped",
    "compensation_claimed", "compensation_succeeded", "compensation_waiting", "compensation_reopened",
})  # fmt: skip
SAGA_EVENTS = frozenset({
    "saga_running", "saga_turned_back", "saga_completed", "saga_compensated", "saga_abandoned", "saga_reopened",
})  # fmt: skip


def read_transitions(model: type[Saga] | type[SagaStep]) -> set[tuple[str, str]]:
    """Return the legal transitions that a model declares."""
    declared = model._meta.get_field("state").get_all_transitions(model)  # type: ignore[union-attr]
    return {(str(move.source), str(move.target)) for move in declared}


@dataclass
class Checker:
    """Checks of all sagas of a run, with the definite outcomes seen so far."""

    world: World
    stage: Stage
    definite: dict[UUID, tuple[Any, ...]] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    """Violations found while functions ran, where a raised error would only become an outcome."""

    def check_call(self, claimed: Any, spec: StepSpec, saga_spec: SagaSpec, observer: Any) -> None:
        """Check from another connection, right before a function of a live attempt runs (I1, I3, I5, S3, S7, S8)."""
        with observer.cursor() as cursor:
            cursor.execute(
                "SELECT s.state, s.hold, s.abort_request, a.ended_at IS NULL, (SELECT count(*) FROM sagas_sagastep r"
                " WHERE r.saga_id = s.id AND r.state = 'running'), s.pivot_passed_at IS NULL"
                " AND s.deadline_at <= a.started_at FROM sagas_saga s LEFT JOIN sagas_sagaattempt a"
                " ON a.saga_id = s.id AND a.lease_token = %s WHERE s.id = %s",
                [claimed.token, claimed.saga_id],
            )
            state, hold, abort, is_live, running, is_overdue = cursor.fetchone()
        where = f"{claimed.direction.value} of {spec.name}"
        if not is_live:
            self.found.append(f"I1: {where} runs without a committed attempt")
        if state != {"action": "running", "compensation": "compensating"}[claimed.direction.value]:
            self.found.append(f"I3: {where} runs while the saga is {state}")
        if hold is not None:
            self.found.append(f"S8: {where} runs although the saga is held: {hold}")
        if claimed.direction is Direction.ACTION:
            # A pivot that may have happened is retried, to know whether to compensate.
            is_asked_again = spec.kind is Kind.PIVOT and claimed.context.attempt > 1
            if (abort or is_overdue) and not is_asked_again:
                self.found.append(f"S7: {where} runs although the saga is to turn back: {abort or 'overdue'}")
        else:
            if running:
                self.found.append(f"S3: {where} runs beside a live action")
            for later in saga_spec.steps:
                if later.rank > spec.rank and self._is_left(claimed.saga_id, later):
                    self.found.append(f"I5: {where} runs before {later.name} is undone")

    def check(self, saga_id: UUID, spec: SagaSpec) -> None:
        """Check one saga.

        Raises: AssertionError with every violation.
        """
        found = [*self.found, *find_violations(saga_id)]
        with transaction.atomic(using=ENGINE):
            unit = SagaUnitOfWork.lock(saga_id)
            effects = unit.effects()
        attempts = [attempt for step in unit.steps for way in Direction for attempt in unit.attempts_of(step, way)]
        history = list(SagaHistory.objects.filter(saga_id=saga_id).order_by("number"))
        rows = {step.name: step for step in unit.steps}
        found += self._compare_definite(attempts)
        found += _check_transitions(unit.saga, rows, history)
        counts = self.world.count_all(saga_id, spec.steps)
        for step in spec.steps:
            row, key = rows[step.name], f"{saga_id}:{step.name}"
            mine = [attempt for attempt in attempts if attempt.step_id == row.pk]
            found += _check_budget(step, row, mine, history)
            counted = counts[step.name]
            found += self._check_effect(unit.saga, step, row, effects[step.name], counted)
            if step.place is Place.JOINED and key not in self.world.by_hand:
                found += _check_joined(step, mine, counted)
        found += self._check_pivot(saga_id, spec, counts)
        found += _check_abort(unit.saga, history)
        if found:
            raise AssertionError("\n".join(found))

    def check_end(self, saga_id: UUID, spec: SagaSpec) -> None:
        """Check that the effects left by a closed saga match its final state.

        Raises: AssertionError.
        """
        saga = Saga.objects.get(pk=saga_id)
        rows = {step.name: step for step in SagaStep.objects.filter(saga_id=saga_id)}
        left = {step.name: self.world.net(step, f"{saga_id}:{step.name}") for step in spec.steps}
        listed = {effect["step"] for effect in saga.effects_left or []}
        is_skipped = {name: row.state == StepState.SKIPPED for name, row in rows.items()}
        right = {
            SagaState.COMPLETED: lambda name, net: net == 1 or is_skipped[name],
            SagaState.COMPENSATED: lambda name, net: net == 0,
            SagaState.ABANDONED: lambda name, net: net == 0 or name in listed,
        }
        assert not SagaState(saga.state).is_open, f"{saga_id} is still {saga.state}, held: {saga.hold}"
        wrong = {name: net for name, net in left.items() if not right[SagaState(saga.state)](name, net)}
        assert not wrong, f"I4: {saga.state} with effects {wrong}"

    def _is_left(self, saga_id: UUID, spec: StepSpec) -> bool:
        """Return whether the engine must know that an effect of the step is left."""
        key = f"{saga_id}:{spec.name}"
        return self.world.net(spec, key) > 0 and not self._may_be_late(saga_id, spec)

    def _may_be_late(self, saga_id: UUID, spec: StepSpec) -> bool:
        """Return whether the effect belongs to a late call that is neither fenced nor recorded yet."""
        is_open = spec.undo is Undo.VERIFIES or f"{saga_id}:{spec.name}" in self.world.excused
        return is_open and self.stage.is_called_unrecorded(saga_id, spec.name)

    def _check_effect(self, saga: Saga, spec: StepSpec, row: SagaStep, effect: Effect, counted: Any) -> list[str]:
        net, where = counted["done"] - counted["undone"], f"{spec.name} ({row.state})"
        found = []
        if counted["done"] > 1 or not 0 <= net <= 1:
            found.append(f"I10: {where} happened {counted['done']} times, was undone {counted['undone']} times")
        is_excused = self._may_be_late(saga.pk, spec)
        if net and effect not in UNDOABLE_EFFECTS and not is_excused:
            found.append(f"S0: {where} has an effect, the engine says {effect.value}")
        if row.state == StepState.SUCCEEDED and not net:
            found.append(f"S0: {where} has no effect")
        listed = {left["step"] for left in saga.effects_left or []}
        if saga.state == SagaState.ABANDONED and net and spec.name not in listed and not is_excused:
            found.append(f"S8: {where} is left behind by an abandoned saga and not listed")
        return found

    def _check_pivot(self, saga_id: UUID, spec: SagaSpec, counts: dict[str, Any]) -> list[str]:
        """Check that nothing is compensated beside a pivot that happened (I6)."""
        pivot = next((step for step in spec.steps if step.kind is Kind.PIVOT), None)
        if pivot is None or f"{saga_id}:{pivot.name}" in self.world.excused:
            return []
        if not counts[pivot.name]["done"]:
            return []
        undone = [name for name, counted in counts.items() if counted["undone"]]
        return [f"I6: {', '.join(undone)} undone although {pivot.name} happened"] if undone else []

    def _compare_definite(self, attempts: list[SagaAttempt]) -> list[str]:
        found = []
        for attempt in attempts:
            if attempt.outcome in (None, Outcome.UNKNOWN):
                continue
            facts = (attempt.outcome, attempt.effect, attempt.settles, attempt.ended_at, attempt.error_class)
            if self.definite.setdefault(attempt.lease_token, facts) != facts:
                found.append(f"S0: attempt {attempt.number} was {self.definite[attempt.lease_token]}, is {facts}")
        return found


def _check_transitions(saga: Saga, rows: dict[str, SagaStep], history: list[SagaHistory]) -> list[str]:
    """Check that history has only legal, connected transitions that end at the stored states."""
    found = []
    saga_moves, step_moves = read_transitions(Saga), read_transitions(SagaStep)
    at: dict[str, str] = {"": "pending"}
    for row in history:
        if row.what not in STEP_EVENTS | SAGA_EVENTS:
            continue
        move = (row.from_state, row.to_state)
        legal = step_moves if row.step else saga_moves
        if move not in legal and (row.from_state != row.to_state or not row.step):
            found.append(f"S0: {row.number} {row.what} {row.step}: {move} is no legal move")
        before = at.setdefault(row.step, row.from_state)
        if before != row.from_state:
            found.append(f"S0: {row.number} {row.what} {row.step}: from {row.from_state}, but it was {before}")
        at[row.step] = row.to_state
    now = {"": saga.state, **{name: step.state for name, step in rows.items() if name in at}}
    wrong = {name: (told, now[name]) for name, told in at.items() if told != now[name]}
    return [*found, *(f"S0: {name or 'saga'}: told {told}, is {row}" for name, (told, row) in wrong.items())]


def _check_abort(saga: Saga, history: list[SagaHistory]) -> list[str]:
    """Check that every abort request was honoured or rejected as too late (S7)."""
    asked = [row.what for row in history if row.what in ("abort_requested", "abort_dropped")]
    if saga.state == SagaState.COMPLETED and asked[-1:] == ["abort_requested"]:
        return ["S7: completed although it was asked to turn back, and nobody was told that it was too late"]
    return []


def _check_budget(spec: StepSpec, row: SagaStep, attempts: list[SagaAttempt], history: list[SagaHistory]) -> list[str]:
    """Check that budgets are separate per direction, and spent before attention is raised (S1.2)."""
    made = {direction: sum(a.direction == direction and not a.is_assumed for a in attempts) for direction in Direction}
    is_back = row.state in (StepState.COMPENSATING, StepState.COMPENSATED)
    direction = Direction.COMPENSATION if is_back else Direction.ACTION
    found = []
    if row.budget_used > made[direction]:
        found.append(f"S1: {spec.name} used {row.budget_used}, made {made[direction]} ({direction.value})")
    if not is_back and spec.kind is not Kind.RETRIABLE and row.budget_used > spec.attempts:
        found.append(f"S1: {spec.name} used {row.budget_used} of {spec.attempts}")
    complained = any(entry.to_state == "compensation_failing" and entry.step == spec.name for entry in history)
    if complained and made[Direction.COMPENSATION] < spec.compensation_attempts:
        found.append(f"S1: {spec.name}: compensation_failing after {made[Direction.COMPENSATION]} attempts")
    for entry in history:
        cause = entry.data.get("cause", {}) if entry.what == "saga_turned_back" else {}
        is_spent = (cause.get("kind"), cause.get("step")) == ("budget_spent", spec.name)
        if is_spent and spec.elapsed_seconds is None and made[Direction.ACTION] < spec.attempts:
            found.append(f"S1: {spec.name}: budget spent after {made[Direction.ACTION]} attempts")
    return found


def _check_joined(spec: StepSpec, attempts: list[SagaAttempt], counted: Any) -> list[str]:
    """Check that effect and record of a local step in the engine's database are one commit (I8)."""
    told = {
        direction: sum(
            a.direction == direction and a.outcome == Outcome.SUCCEEDED and not a.is_assumed for a in attempts
        )
        for direction in Direction
    }
    ran = {Direction.ACTION: counted["done"], Direction.COMPENSATION: counted["undone"] + counted["nothing"]}
    return [] if ran == told else [f"I8: {spec.name} ran {ran}, attempts say {told}"]


def observe() -> Any:
    """Return a separate connection to the engine's database, which sees only committed rows."""
    return connections[ENGINE].copy()
