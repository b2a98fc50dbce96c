"""Random operators of sagas, who never report anything false."""

from uuid import UUID

from sagas.core.states import Hold, Kind, SagaState, StepState
from sagas.exceptions import OperationRefused
from sagas.models import Saga, SagaStep
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.operations import OperationResult
from sagas.operators.preconditions import STEP_REQUIRED, Operation

from .specs import StepSpec
from .world import World

OPERATOR = Actor(name="ada", is_trusted=True)
REASON, EVIDENCE = "because the machine says so", "the provider's page says so"


def is_true(world: World, operation: Operation, spec: StepSpec, key: str) -> bool:
    """Return whether an operator could truthfully report this about a step."""
    if operation is Operation.MARK_SUCCEEDED:
        return world.can_be_done_by_hand(spec, key)
    if operation is Operation.MARK_REFUSED:
        return world.net(spec, key) == 0
    return True


def operate(
    world: World, saga_id: UUID, operation: Operation, spec: StepSpec, *, revision: int | None = None
) -> OperationResult | None:
    """Perform an operation, and do by hand what it reports.

    Returns: None when it was refused.
    """
    key = f"{saga_id}:{spec.name}"
    arguments: dict[str, object] = {"actor": OPERATOR, "reason": REASON, "revision": revision}
    if operation in STEP_REQUIRED:
        arguments["step"] = spec.name
    if operation in MARKS:
        arguments["evidence"] = EVIDENCE
    try:
        result = operations.perform_operation(operation, saga_id, **arguments)
    except OperationRefused:
        return None
    if not result.is_repeat:
        _do_as_reported(world, operation, spec, key)
    return result


MARKS = frozenset({Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED, Operation.MARK_COMPENSATED})


def _do_as_reported(world: World, operation: Operation, spec: StepSpec, key: str) -> None:
    if operation is Operation.MARK_SUCCEEDED:
        world.do_by_hand(spec, key)
    elif operation is Operation.MARK_COMPENSATED:
        world.undo_by_hand(spec, key)
    elif operation is Operation.MARK_REFUSED and spec.place.is_external:
        world.provider.closed.add(key)
    elif operation is Operation.MARK_REFUSED or (operation is Operation.SKIP and spec.kind is Kind.RETRIABLE):
        world.excused.add(key)


def settle_down(world: World, saga_id: UUID, specs: list[StepSpec]) -> list[str]:
    """Perform the operations that end every hold of a saga.

    Returns: what was done, in order.
    """
    done = []
    if Saga.objects.get(pk=saga_id).hold == Hold.PAUSED:
        done += _try(world, saga_id, specs[0], Operation.RESUME)
    for row in SagaStep.objects.filter(saga_id=saga_id, hold__isnull=False).order_by("position"):
        spec = next(spec for spec in specs if spec.name == row.name)
        done += _resolve(world, saga_id, spec, row)
    return done


def _resolve(world: World, saga_id: UUID, spec: StepSpec, row: SagaStep) -> list[str]:
    if row.hold == Hold.MISCONFIGURED:
        return _try(world, saga_id, spec, Operation.RETRY)
    if row.hold == Hold.COMPENSATION_REFUSED:
        return _try(world, saga_id, spec, Operation.MARK_COMPENSATED)
    if row.hold == Hold.OUTCOME_UNKNOWN:
        if world.net(spec, f"{saga_id}:{spec.name}"):
            return _try(world, saga_id, spec, Operation.MARK_SUCCEEDED, Operation.ABANDON)
        return _try(world, saga_id, spec, Operation.MARK_REFUSED)
    is_back = Saga.objects.get(pk=saga_id).state == SagaState.COMPENSATING
    if spec.kind is Kind.PIVOT and is_back:
        # It happened although an operator had marked it refused: it cannot be undone.
        return _try(world, saga_id, spec, Operation.ABANDON)
    if row.state == StepState.REFUSED:
        return _try(world, saga_id, spec, Operation.MARK_SUCCEEDED, Operation.SKIP)
    return _try(world, saga_id, spec, Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED)


def _try(world: World, saga_id: UUID, spec: StepSpec, *candidates: Operation) -> list[str]:
    for operation in candidates:
        if is_true(world, operation, spec, f"{saga_id}:{spec.name}") and operate(world, saga_id, operation, spec):
            return [f"{operation.value} {spec.name}"]
    return []
