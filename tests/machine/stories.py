"""Tell, move by move, what each guarding rule is for: chance may never draw it, and these come by it every time."""

from __future__ import annotations

from collections.abc import Callable

from sagas.models import Saga
from sagas.rules import Operation
from sagas.states import SagaState

from .machine import SagaMachine
from .specs import Place, SagaSpec, StepSpec, Undo
from .stage import Does

LEASE_SECONDS = 32  # a little more
MAX_LOOKS = 10


def begin(machine: SagaMachine, *ranks: tuple[StepSpec, ...]) -> Saga:
    """Start a saga of these ranks."""
    machine.begin(spec=SagaSpec(ranks=ranks), cancels=False, thaws_last=False)
    return Saga.objects.get()


def come_back_late_to_a_local_step(machine: SagaMachine) -> None:
    """Freeze in a local step; another worker does it, and the first goes on."""
    begin(machine, (StepSpec(),), (StepSpec(place=Place.EXTERNAL),))
    move(machine, look, Does.FREEZES_BEFORE)
    machine.pass_time(seconds=LEASE_SECONDS)
    move(machine, look, Does.WORKS, Does.IS_IN_PROGRESS)
    move(machine, machine.record_late, index=0)


def turn_back_beside_a_live_action(machine: SagaMachine) -> None:
    """Refuse one step of a group while another is at work."""
    external = StepSpec(place=Place.EXTERNAL)
    begin(machine, (external,), (external, external))
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
    begin(machine, (stubborn,), (StepSpec(place=Place.EXTERNAL),))
    move(machine, look, Does.RETRIES)
    move(machine, look, Does.RETRIES)
    move(machine, look, Does.WORKS, Does.REFUSES, Does.RETRIES)


def act_behind_a_tombstone(machine: SagaMachine) -> None:
    """Freeze before a step in a database of its own; the saga turns back, ends, and the step is tried."""
    saga = begin(machine, (StepSpec(place=Place.APART),))
    move(machine, look, Does.FREEZES_BEFORE)
    cancel(machine, saga)
    move(machine, machine.call_late, index=0)


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
    move(machine, machine.operate, index=0, operation=Operation.CANCEL, step=0, age=None)
    for _ in range(MAX_LOOKS):
        move(machine, look, Does.WORKS)
        saga.refresh_from_db(fields=["state"])
        if saga.state == SagaState.COMPENSATED:
            return
    raise AssertionError(f"{saga.pk} is still {saga.state}")
