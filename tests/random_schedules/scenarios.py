"""Scenarios, one for each guarding rule, that reach every time what random runs may miss."""

from collections.abc import Callable
from datetime import timedelta

from sagas.core.states import Direction, Kind, SagaState
from sagas.models import Saga, SagaBarrier
from sagas.operators.preconditions import Operation
from sagas.retention import purge

from .machine import SagaMachine
from .specs import Place, SagaSpec, StepSpec, Undo
from .stage import Does

LEASE_SECONDS = 32  # a little longer than a lease
DEADLINE_SECONDS, BEYOND_DEADLINE_SECONDS = 100, 120
DAY_SECONDS = 86_400
MAX_LOOKS = 10
EXTERNAL = StepSpec(place=Place.EXTERNAL)


def begin(machine: SagaMachine, *ranks: tuple[StepSpec, ...], deadline_seconds: int | None = None) -> Saga:
    """Start a saga with these ranks."""
    spec = SagaSpec(ranks=ranks, deadline_seconds=deadline_seconds)
    machine.begin(spec=spec, cancels=False, thaws_last=False)
    return Saga.objects.get()


def record_late_in_local_step(machine: SagaMachine) -> None:
    """Freeze in a local step, let another worker run it, and thaw the first."""
    begin(machine, (StepSpec(),), (EXTERNAL,))
    move(machine, look, Does.FREEZES_BEFORE)
    machine.pass_time(seconds=LEASE_SECONDS)
    move(machine, look, Does.WORKS, Does.IS_IN_PROGRESS)
    move(machine, machine.record_late, index=0)


def compensate_beside_live_action(machine: SagaMachine) -> None:
    """Refuse one step of a group while its sibling runs."""
    begin(machine, (EXTERNAL,), (EXTERNAL, EXTERNAL))
    move(machine, look, Does.WORKS, Does.FREEZES_BEFORE)
    move(machine, look, Does.REFUSES, Does.WORKS, waits=False)


def act_after_close(machine: SagaMachine) -> None:
    """Freeze before a call that nothing can fence, compensate the saga, and make the call."""
    saga = begin(machine, (StepSpec(place=Place.EXTERNAL, undo=Undo.VERIFIES),))
    move(machine, look, Does.FREEZES_BEFORE)
    cancel(machine, saga)
    move(machine, machine.record_late, index=0)


def spend_budget_and_compensate(machine: SagaMachine) -> None:
    """Spend the budget of an action, and then fail its compensation once."""
    stubborn = StepSpec(place=Place.EXTERNAL, attempts=3, compensation_attempts=2)
    begin(machine, (stubborn,), (EXTERNAL,))
    move(machine, look, Does.RETRIES)
    move(machine, look, Does.RETRIES)
    move(machine, look, Does.WORKS, Does.REFUSES, Does.RETRIES)


def act_behind_tombstone(machine: SagaMachine) -> None:
    """Freeze before a step in another database, compensate the saga, and try the step."""
    saga = begin(machine, (StepSpec(place=Place.APART),))
    move(machine, look, Does.FREEZES_BEFORE)
    cancel(machine, saga)
    move(machine, machine.call_late, index=0)


def lose_worker_after_call(machine: SagaMachine) -> None:
    """Die between call and record, and compensate."""
    saga = begin(machine, (EXTERNAL,), (EXTERNAL,))
    move(machine, look, Does.DIES_AFTER)
    machine.pass_time(seconds=LEASE_SECONDS)
    cancel(machine, saga)


def continue_after_deadline(machine: SagaMachine) -> None:
    """Wait for a retry beyond the deadline."""
    begin(machine, (EXTERNAL,), (EXTERNAL,), deadline_seconds=DEADLINE_SECONDS)
    move(machine, look, Does.WORKS, Does.RETRIES)
    machine.pass_time(seconds=BEYOND_DEADLINE_SECONDS)
    move(machine, look, Does.WORKS)


def cancel_after_pivot(machine: SagaMachine) -> None:
    """Cancel a saga whose pivot has succeeded."""
    pivot, after = (StepSpec(place=Place.EXTERNAL, kind=kind) for kind in (Kind.PIVOT, Kind.RETRIABLE))
    begin(machine, (EXTERNAL,), (pivot,), (after,))
    move(machine, look, Does.WORKS, Does.WORKS, Does.RETRIES)
    operate(machine, Operation.CANCEL)
    move(machine, look, Does.WORKS)


def undo_two_steps(machine: SagaMachine) -> None:
    """Refuse the third of three steps."""
    begin(machine, (EXTERNAL,), (EXTERNAL,), (EXTERNAL,))
    move(machine, look, Does.WORKS, Does.WORKS, Does.REFUSES, Does.WORKS)


def exceed_budget(machine: SagaMachine) -> None:
    """Fail once more than the budget of a step allows."""
    begin(machine, (EXTERNAL,))
    for _ in range(EXTERNAL.attempts + 1):
        move(machine, look, Does.RETRIES)


def advance_paused_saga(machine: SagaMachine) -> None:
    """Pause a saga between two steps."""
    begin(machine, (EXTERNAL,), (EXTERNAL,))
    move(machine, look, Does.WORKS)
    operate(machine, Operation.PAUSE)
    move(machine, look, Does.WORKS)


def end_last_step_of_paused_saga(machine: SagaMachine) -> None:
    """Pause a saga without a pivot, cancel it, and let its last step succeed."""
    begin(machine, (EXTERNAL,))
    move(machine, look, Does.FREEZES_AFTER)
    operate(machine, Operation.PAUSE)
    operate(machine, Operation.CANCEL)
    move(machine, machine.record_late, index=0)


def pass_deadline_beside_held_sibling(machine: SagaMachine) -> None:
    """Hold one step of a group, and start no other after the deadline."""
    begin(machine, (EXTERNAL, EXTERNAL), deadline_seconds=DEADLINE_SECONDS)
    move(machine, look, Does.IS_MISCONFIGURED)
    machine.pass_time(seconds=BEYOND_DEADLINE_SECONDS)
    move(machine, look, Does.WORKS)


def pass_pivot_beside_live_compensation(machine: SagaMachine) -> None:
    """Truthfully mark a pivot refused, freeze while compensating, and let the pivot happen after all."""
    begin(machine, (EXTERNAL,), (StepSpec(place=Place.APART, kind=Kind.PIVOT),))
    move(machine, look, Does.WORKS, Does.FREEZES_BEFORE)
    machine.pass_time(seconds=LEASE_SECONDS)
    operate(machine, Operation.MARK_REFUSED, step=1)
    move(machine, look, Does.FREEZES_BEFORE)
    move(machine, machine.record_late, index=0)


def act_after_lost_barrier_row(machine: SagaMachine) -> None:
    """Compensate a step in another database, lose its action's barrier row, and try the step."""
    saga = begin(machine, (StepSpec(place=Place.APART),))
    move(machine, look, Does.COMMIT_UNANSWERED)
    move(machine, look, Does.FREEZES_BEFORE)
    cancel(machine, saga)
    SagaBarrier.objects.using(machine.apart).filter(direction=Direction.ACTION.value).delete()
    move(machine, machine.call_late, index=0)


def act_after_expired_barrier_rows(machine: SagaMachine) -> None:
    """Compensate a step in another database much later, clean up, and try the step."""
    saga = begin(machine, (StepSpec(place=Place.APART),))
    [step] = machine.specs[saga.pk].steps
    move(machine, look, Does.COMMIT_UNANSWERED)
    move(machine, look, Does.FREEZES_BEFORE)
    machine.pass_time(seconds=60 * DAY_SECONDS)
    cancel(machine, saga)
    machine.pass_time(seconds=40 * DAY_SECONDS)
    purge.clean_up(purge.Scope(closed_before=machine.clock.now - timedelta(days=30)))
    machine.specs.pop(saga.pk)  # nothing can retry it any more; its effects remain
    late = machine.stage.frozen.pop()
    machine.stage.call_late(late)
    machine.stage.record_late(late)
    left = machine.world.net(step, f"{saga.pk}:{step.name}")
    assert not Saga.objects.filter(pk=saga.pk).exists()
    assert left == 0, f"I10: {step.name} of a saga that was undone has an effect"


def operate(machine: SagaMachine, operation: Operation, *, step: int = 0) -> None:
    """Perform an operation."""
    move(machine, machine.operate, index=0, operation=operation, step=step, age=None)


def move(machine: SagaMachine, act: Callable[..., None], *script: Does, **arguments: object) -> None:
    """Make one move, and check everything that must hold after it."""
    if act is look:
        act(machine, *script, **arguments)
    else:
        act(**arguments)
    machine.holds()


def look(machine: SagaMachine, *script: Does, waits: bool = True) -> None:
    """Advance the saga when it is due, with the behaviours of the script."""
    machine.look(index=0, worker="A", script=list(script), waits=waits)


def cancel(machine: SagaMachine, saga: Saga) -> None:
    """Cancel the saga, and advance it until it is closed."""
    operate(machine, Operation.CANCEL)
    for _ in range(MAX_LOOKS):
        move(machine, look, Does.WORKS)
        saga.refresh_from_db(fields=["state"])
        if saga.state == SagaState.COMPENSATED:
            return
    raise AssertionError(f"{saga.pk} is still {saga.state}")
