"""Simulation of an operation: a saga as it would stand afterwards, before anything is claimed.

The operation itself runs on a draft of the saga, which cannot be written: nothing here reaches a unit of work.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property

from ..core import planner
from ..core.planner import SagaView, StepView
from ..core.states import FORWARD_STATES, PASSED_STATES, Effect, Hold, Kind, SagaState
from ..engine import claim, saga_transitions, step_transitions
from ..engine.store.draft import SagaDraft
from ..engine.store.snapshot import SagaSnapshot
from . import operation_changes
from .operation_changes import OperationRequest
from .preconditions import Operation

NO_RESULT = "{step} has no result unless you supply one; later steps that read it need one."
NOTES: Mapping[Operation, str] = {
    Operation.SKIP: NO_RESULT,
    Operation.MARK_SUCCEEDED: NO_RESULT,
    Operation.MARK_REFUSED: "If {step} did go through, its effect stays: it will not be compensated automatically.",
    Operation.MARK_COMPENSATED: "Any effect that {step} left stays: the participant is not asked again.",
}
"""What an operator should know before operating on a step."""


@dataclass(frozen=True)
class Simulation:
    """Saga as it would stand after an operation."""

    draft: SagaDraft
    """The saga's rows, changed in memory."""

    @cached_property
    def view(self) -> SagaView:
        """The saga and its steps as the planner reads them."""
        return self.draft.view()

    @cached_property
    def effects(self) -> Mapping[str, Effect]:
        """The effect of each step, by name."""
        return self.draft.effects()


def look_ahead(snapshot: SagaSnapshot) -> SagaSnapshot:
    """Return the saga as an operation would find it: a copy in which attempts with an expired lease are given up."""
    if not any(row.lease_until is not None and row.lease_until <= snapshot.now for row in snapshot.steps):
        return snapshot
    ahead = SagaDraft.of(snapshot)
    step_transitions.expire_leases(ahead)
    return ahead


def simulate(snapshot: SagaSnapshot, operation: Operation, step: str | None) -> Simulation:
    """Return how the saga would stand after an operation.

    Raises: OperationRefused when the operation is not possible now.
    """
    draft = SagaDraft.of(snapshot)
    operation_changes.apply(draft, OperationRequest(operation=operation, step=step))
    return Simulation(draft)


def is_bound_back(simulation: Simulation) -> bool:
    """Return whether only compensations are left: now, or once no hold is left and the abort request is granted."""
    view = simulation.view
    if view.state in FORWARD_STATES and view.abort_request is not None:
        return planner.is_pivot_open(view, simulation.effects)
    return view.state is SagaState.COMPENSATING


def find_undecided_pivot(simulation: Simulation) -> str:
    """Return the pivot whose outcome an abort request waits for; an empty string when none does."""
    view = simulation.view
    if view.state not in FORWARD_STATES or view.abort_request is None or is_bound_back(simulation):
        return ""
    return next((step.name for step in view.steps if step.kind is Kind.PIVOT), "")


def assume_pivot(simulation: Simulation, *, happened: bool) -> Simulation:
    """Return how the saga would stand once the outcome of its undecided pivot is known."""
    draft = deepcopy(simulation.draft)
    row = draft.step(find_undecided_pivot(simulation))
    row.lease_token = row.lease_until = None
    operation = Operation.MARK_SUCCEEDED if happened else Operation.MARK_REFUSED
    operation_changes.settle_as_stated(draft, row, happened=happened, request=OperationRequest(operation=operation))
    claim.claim_next(draft, queues=None, worker="", may_claim=False)
    return Simulation(draft)


def list_steps_left(simulation: Simulation) -> list[StepView]:
    """Return the steps that would still run, in their order: forward, or backward to compensate."""
    if is_bound_back(simulation):
        back = _turn_back(simulation)
        return [step for step in reversed(back.view.steps) if _is_to_compensate(back, step)]
    if simulation.view.state in FORWARD_STATES:
        return [step for step in simulation.view.steps if step.state not in PASSED_STATES]
    return []


def list_notes(simulation: Simulation, operation: Operation, step: str | None) -> Iterator[str]:
    """Yield what the operator should know about the result, including what will not happen."""
    view, saga = simulation.view, simulation.draft.saga
    if operation in NOTES:
        yield NOTES[operation].format(step=step)
    if operation is Operation.RETRY:
        for held in (row.name for row in view.steps if row.hold):
            yield f"{held} stays held: the retry does not apply to it."
    if simulation.draft.definition is None and view.state.is_open:
        yield f"Nothing runs until the code has definition {saga.definition} version {saga.version} with these steps."
    if view.hold is Hold.PAUSED:
        yield "The saga is paused: nothing is claimed until an operator resumes it."
    if planner.is_pivot_passed(view):
        yield "The pivot has succeeded: nothing is compensated any more."
    elif view.state is SagaState.COMPENSATING:
        yield "Going forward again is not possible once a saga compensates: start a new one."
    elif is_bound_back(simulation):
        yield "Going forward again is not possible once a saga was asked to turn back: start a new one."


def _turn_back(simulation: Simulation) -> Simulation:
    """Return how the saga would stand once its abort request is granted."""
    if simulation.view.state is SagaState.COMPENSATING:
        return simulation
    draft = deepcopy(simulation.draft)
    saga_transitions.turn_back(draft, {})
    return Simulation(draft)


def _is_to_compensate(simulation: Simulation, step: StepView) -> bool:
    alone = replace(simulation.view, steps=(step,))
    return planner.rank_to_compensate(alone, simulation.effects) is not None
