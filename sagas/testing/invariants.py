"""Invariants of a saga that its rows alone can show.

These are the count of attempts of I1, I2 to I6, the leases, attempts and history numbers of I8, and I9. Rows do not
show I7 (the arguments of each call), nor the order of commits.
"""

from uuid import UUID

from django.db import transaction

from ..conf import get_settings
from ..core.states import PASSED_STATES, UNDOABLE_EFFECTS, Direction, Effect, Hold, Kind, Outcome, SagaState, StepState
from ..engine.store.snapshot import SagaSnapshot
from ..engine.store.unit_of_work import SagaUnitOfWork
from ..models import SagaAttempt, SagaHistory, SagaStep


def assert_invariants(saga_id: UUID) -> None:
    """Check the invariants of a saga.

    Raises: AssertionError with every violation.
    Locks: the saga row, during the check.
    """
    if violations := find_violations(saga_id):
        raise AssertionError(f"Saga {saga_id}: " + "; ".join(violations))


def find_violations(saga_id: UUID) -> list[str]:
    """Return every violated invariant as a sentence; empty if all hold."""
    with transaction.atomic(using=get_settings().database):
        work = SagaUnitOfWork.lock(saga_id)
        return [
            *_check_attempts(work),
            *_check_end(work),
            *_check_order(work),
            *_check_limbo(work),
            *_check_history(work),
            *_check_severity(work),
        ]


def _check_attempts(snapshot: SagaSnapshot) -> list[str]:
    found, attempts = [], snapshot.attempts()
    for step in snapshot.steps:
        live = [attempt for attempt in attempts if attempt.step_id == step.pk and attempt.ended_at is None]
        if len(live) > 1:
            found.append(f"I2: {step.name} has {len(live)} live attempts")
        if bool(live) != step.is_live:
            found.append(f"I8: {step.name} has a lease without a live attempt, or a live attempt without a lease")
        for direction, count in (
            (Direction.ACTION, step.action_attempts),
            (Direction.COMPENSATION, step.compensation_attempts),
        ):
            numbers = sorted(a.number for a in attempts if a.step_id == step.pk and a.direction == direction)
            if numbers != list(range(1, count + 1)):
                found.append(f"I1: {step.name} made {count} attempts ({direction.value}), but its rows have {numbers}")
    return found


def _check_severity(snapshot: SagaSnapshot) -> list[str]:
    stored, found = snapshot.saga.severity, snapshot.severity()
    return [] if stored == found else [f"I8: its severity is stored as {stored}, but its rows say {found.value}"]


def _check_end(snapshot: SagaSnapshot) -> list[str]:
    state, effects = snapshot.saga.state, snapshot.effects()
    if snapshot.saga.is_choreographed:
        owed = [debt["step"] for debt in snapshot.saga.owed]
        return [f"E8: closed, but {', '.join(owed)} is owed"] if owed and not SagaState(state).is_open else []
    if state == SagaState.COMPLETED:
        open_steps = [step.name for step in snapshot.steps if step.state not in PASSED_STATES]
        return [f"I4: completed with {', '.join(open_steps)} not passed"] if open_steps else []
    if state == SagaState.COMPENSATED:
        left = [name for name, effect in effects.items() if effect in UNDOABLE_EFFECTS]
        return [f"I4: compensated with effects left by {', '.join(left)}"] if left else []
    return []


def _check_order(snapshot: SagaSnapshot) -> list[str]:
    found: list[str] = []
    if snapshot.saga.is_choreographed:
        return found  # nobody commands an order
    effects = snapshot.effects()
    has_pivot = any(s.kind == Kind.PIVOT and s.state == StepState.SUCCEEDED for s in snapshot.steps)
    undone = [s for s in snapshot.steps if s.state in (StepState.COMPENSATING, StepState.COMPENSATED)]
    if has_pivot and undone:
        found.append(f"I6: {undone[0].name} is compensated although the pivot succeeded")
    if undone and snapshot.saga.state in (SagaState.PENDING, SagaState.RUNNING, SagaState.COMPLETED):
        found.append(f"I3: {undone[0].name} is compensated while the saga is {snapshot.saga.state}")
    if snapshot.saga.state == SagaState.COMPENSATING:
        for step in undone:
            later = [
                s.name
                for s in snapshot.steps
                if s.rank > step.rank and effects[s.name] in UNDOABLE_EFFECTS and s.epoch == 0 and not _is_late_pivot(s)
            ]
            if later and step.epoch == 0:
                found.append(f"I5: {step.name} is compensated before {', '.join(later)}")
    return found


def _is_late_pivot(step: SagaStep) -> bool:
    """Return whether a pivot happened after an operator marked it as refused: compensations before were right (S4)."""
    return step.kind == Kind.PIVOT and step.hold == Hold.CONTRACT_VIOLATION


def _check_limbo(snapshot: SagaSnapshot) -> list[str]:
    saga = snapshot.saga
    is_held = bool(saga.hold or any(step.hold for step in snapshot.steps))
    is_live = any(step.is_live for step in snapshot.steps)
    if SagaState(saga.state).is_open:
        if saga.hook_due_at is not None:
            return ["I9: open, but its on_closed hook is due"]
        if saga.is_choreographed:
            is_limited = saga.owed_due_at is not None or bool(saga.attention)
            return [] if is_limited else ["I9: open, but nothing is owed within a limit, and nobody is told"]
        if saga.due_at is None and not is_held:
            return ["I9: open, but neither due nor held"]
        if not is_live:
            return []
        if saga.due_at is None:
            return ["I9: live, but not due"]
        # Without its definition the effect of a lost worker is unknown: the lease stays, and sweeps keep checking.
        looked_at = saga.updated_at + get_settings().wakeup_interval
        if saga.due_at > max(looked_at, *(step.lease_until for step in snapshot.steps if step.lease_until)):
            return ["I9: a lease ends before the saga is due"]
        return []
    if saga.due_at is not None or is_held or (is_live and saga.state != SagaState.ABANDONED):
        return ["I9: closed, but due, held or live"]
    return []


def _check_history(snapshot: SagaSnapshot) -> list[str]:
    rows = SagaHistory.objects.using(get_settings().database).filter(saga_id=snapshot.saga.pk).order_by("number")
    numbers = list(rows.values_list("number", flat=True))
    if numbers != list(range(1, snapshot.saga.history_count + 1)):
        return [f"I8: history has gaps: {numbers}"]
    return []


def effect_of(saga_id: UUID, step: str) -> Effect:
    """Return the effect of a step, computed from its attempts."""
    with transaction.atomic(using=get_settings().database):
        return SagaUnitOfWork.lock(saga_id).effects()[step]


def outcomes_of(saga_id: UUID, step: str, direction: Direction = Direction.ACTION) -> list[Outcome | None]:
    """Return the outcomes of a step's attempts in one direction, in order; None for a live one."""
    rows = SagaAttempt.objects.using(get_settings().database).filter(
        saga_id=saga_id, step__name=step, direction=direction.value
    )
    return [Outcome(value) if value else None for value in rows.order_by("number").values_list("outcome", flat=True)]
