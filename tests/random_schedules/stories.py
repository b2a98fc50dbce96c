"""Tell, move by move, what each guarding rule is for: chance may never draw it, and these come by it every time."""

from collections.abc import Callable
from datetime import timedelta

from sagas.core.states import Direction, Kind, SagaState
from sagas.models import Saga, SagaBarrier
from sagas.operators.preconditions import Operation
from sagas.retention import purge

from .machine import SagaMachine
from .specs import Place, SagaSpec, StepSpec, Undo
from .stage import Does

LEASE_SECONDS = 32  # a little more
DEADLINE_SECONDS, BEYOND_DEADLINE_SECONDS = 100, 120
DAY_SECONDS = 86_400
MAX_LOOKS = 10
EXTERNAL = StepSpec(place=Place.EXTERNAL)


def begin(machine: SagaMachine, *ranks: tuple[StepSpec, ...], deadline_seconds: int | None = None) -> Saga:
    """Start a saga of these ranks."""
    spec = SagaSpec(ranks=ranks, deadline_seconds=deadline_seconds)
    machine.begin(spec=spec, cancels=False, thaws_last=False)
    return Saga.objects.get()


def come_back_late_to_a_local_step(machine: SagaMachine) -> None:
    """Freeze in a local step; another worker does it, and the first goes on."""
    begin(machine, (StepSpec(),), (EXTERNAL,))
    move(machine, look, Does.FREEZES_BEFORE)
    machine.pass_time(seconds=LEASE_SECONDS)
    move(machine, look, Does.WORKS, Does.IS_IN_PROGRESS)
    move(machine, machine.record_late, index=0)


def turn_back_beside_a_live_action(machine: SagaMachine) -> None:
    """Refuse one step of a group while another is at work."""
    begin(machine, (EXTERNAL,), (EXTERNAL, EXTERNAL))
    move(machine, look, Does.WORKS, Does.FREEZES_BEFORE)
    move(machine, look, Does.REFUSES, Does.WORKS, waits=False)


def act_after_the_end(machine: SagaMachine) -> None:
    """Freeze before a call that nothing can fence; the saga turns back, ends, and the call is made."""
    saga = begin(machine, (StepSpec(place=Place.EXTERNAL, undo=Undo.VERIFIES),))
    move(machine, look, Does.FREEZES_BEFORE)
    cancel(machine, saga)
    move(machine, machine.record_late, index=0)


def try_often_and_turn_back(machine: SagaMachine) -> None:
    """Use up what an action may, and then fail once to undo it."""
    stubborn = StepSpec(place=Place.EXTERNAL, attempts=3, compensation_attempts=2)
    begin(machine, (stubborn,), (EXTERNAL,))
    move(machine, look, Does.RETRIES)
    move(machine, look, Does.RETRIES)
    move(machine, look, Does.WORKS, Does.REFUSES, Does.RETRIES)


def act_behind_a_tombstone(machine: SagaMachine) -> None:
    """Freeze before a step in a database of its own; the saga turns back, ends, and the step is tried."""
    saga = begin(machine, (StepSpec(place=Place.APART),))
    move(machine, look, Does.FREEZES_BEFORE)
    cancel(machine, saga)
    move(machine, machine.call_late, index=0)


def lose_a_worker_after_its_call(machine: SagaMachine) -> None:
    """Die between call and record, and turn back."""
    saga = begin(machine, (EXTERNAL,), (EXTERNAL,))
    move(machine, look, Does.DIES_AFTER)
    machine.pass_time(seconds=LEASE_SECONDS)
    cancel(machine, saga)


def go_on_after_the_deadline(machine: SagaMachine) -> None:
    """Wait for a retry until the deadline has passed."""
    begin(machine, (EXTERNAL,), (EXTERNAL,), deadline_seconds=DEADLINE_SECONDS)
    move(machine, look, Does.WORKS, Does.RETRIES)
    machine.pass_time(seconds=BEYOND_DEADLINE_SECONDS)
    move(machine, look, Does.WORKS)


def turn_back_after_the_pivot(machine: SagaMachine) -> None:
    """Ask a saga to turn back whose pivot has succeeded."""
    pivot, after = (StepSpec(place=Place.EXTERNAL, kind=kind) for kind in (Kind.PIVOT, Kind.RETRIABLE))
    begin(machine, (EXTERNAL,), (pivot,), (after,))
    move(machine, look, Does.WORKS, Does.WORKS, Does.RETRIES)
    operate(machine, Operation.CANCEL)
    move(machine, look, Does.WORKS)


def undo_two_steps(machine: SagaMachine) -> None:
    """Refuse the third step of three."""
    begin(machine, (EXTERNAL,), (EXTERNAL,), (EXTERNAL,))
    move(machine, look, Does.WORKS, Does.WORKS, Does.REFUSES, Does.WORKS)


def try_more_often_than_allowed(machine: SagaMachine) -> None:
    """Fail as often as a step may, and once more."""
    begin(machine, (EXTERNAL,))
    for _ in range(EXTERNAL.attempts + 1):
        move(machine, look, Does.RETRIES)


def look_at_a_paused_saga(machine: SagaMachine) -> None:
    """Pause a saga between two of its steps."""
    begin(machine, (EXTERNAL,), (EXTERNAL,))
    move(machine, look, Does.WORKS)
    operate(machine, Operation.PAUSE)
    move(machine, look, Does.WORKS)


def end_the_last_step_of_a_paused_saga(machine: SagaMachine) -> None:
    """Pause a saga without a pivot, ask it to turn back, and let its last step succeed."""
    begin(machine, (EXTERNAL,))
    move(machine, look, Does.FREEZES_AFTER)
    operate(machine, Operation.PAUSE)
    operate(machine, Operation.CANCEL)
    move(machine, machine.record_late, index=0)


def reach_the_deadline_beside_a_held_sibling(machine: SagaMachine) -> None:
    """Hold one step of a group, and begin no other once the deadline has passed."""
    begin(machine, (EXTERNAL, EXTERNAL), deadline_seconds=DEADLINE_SECONDS)
    move(machine, look, Does.IS_MISCONFIGURED)
    machine.pass_time(seconds=BEYOND_DEADLINE_SECONDS)
    move(machine, look, Does.WORKS)


def pass_the_pivot_beside_a_live_compensation(machine: SagaMachine) -> None:
    """Report truly that a pivot has not happened, freeze while undoing the rest, and let the pivot happen after all."""
    begin(machine, (EXTERNAL,), (StepSpec(place=Place.APART, kind=Kind.PIVOT),))
    move(machine, look, Does.WORKS, Does.FREEZES_BEFORE)
    machine.pass_time(seconds=LEASE_SECONDS)
    operate(machine, Operation.MARK_REFUSED, step=1)
    move(machine, look, Does.FREEZES_BEFORE)
    move(machine, machine.record_late, index=0)


def act_when_its_barrier_row_is_lost(machine: SagaMachine) -> None:
    """Turn back from a step in a database of its own, lose the row of its action there, and let it be tried."""
    saga = begin(machine, (StepSpec(place=Place.APART),))
    move(machine, look, Does.COMMIT_UNANSWERED)
    move(machine, look, Does.FREEZES_BEFORE)
    cancel(machine, saga)
    SagaBarrier.objects.using(machine.apart).filter(direction=Direction.ACTION.value).delete()
    move(machine, machine.call_late, index=0)


def act_when_its_barrier_rows_are_old(machine: SagaMachine) -> None:
    """Turn back long after a step in a database of its own, clean up, and let the step be tried."""
    saga = begin(machine, (StepSpec(place=Place.APART),))
    [step] = machine.specs[saga.pk].steps
    move(machine, look, Does.COMMIT_UNANSWERED)
    move(machine, look, Does.FREEZES_BEFORE)
    machine.pass_time(seconds=60 * DAY_SECONDS)
    cancel(machine, saga)
    machine.pass_time(seconds=40 * DAY_SECONDS)
    purge.clean_up(purge.Scope(closed_before=machine.clock.now - timedelta(days=30)))
    machine.specs.pop(saga.pk)  # nobody can ask after it any more; what it did to the world stays
    late = machine.stage.frozen.pop()
    machine.stage.call_late(late)
    machine.stage.record_late(late)
    left = machine.world.net(step, f"{saga.pk}:{step.name}")
    assert not Saga.objects.filter(pk=saga.pk).exists()
    assert left == 0, f"I10: {step.name} of a saga that was undone has an effect"


def operate(machine: SagaMachine, operation: Operation, *, step: int = 0) -> None:
    """Let a person act."""
    move(machine, machine.operate, index=0, operation=operation, step=step, age=None)


def move(machine: SagaMachine, act: Callable[..., None], *script: Does, **arguments: object) -> None:
    """Make one move, and check all that must hold after it."""
    if act is look:
        act(machine, *script, **arguments)
    else:
        act(**arguments)
    machine.holds()


def look(machine: SagaMachine, *script: Does, waits: bool = True) -> None:
    """Let a worker look at the saga when it is due, and do what the script says."""
    machine.look(index=0, worker="A", script=list(script), waits=waits)


def cancel(machine: SagaMachine, saga: Saga) -> None:
    """Ask the saga to turn back, and work until it is over."""
    operate(machine, Operation.CANCEL)
    for _ in range(MAX_LOOKS):
        move(machine, look, Does.WORKS)
        saga.refresh_from_db(fields=["state"])
        if saga.state == SagaState.COMPENSATED:
            return
    raise AssertionError(f"{saga.pk} is still {saga.state}")
