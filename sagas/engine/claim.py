"""Claims: take the lease of the next step and write its attempt, before anything runs.

Tx: inside the transaction that holds the draft.
"""

import time
from dataclasses import dataclass
from uuid import uuid4

from ..conf import get_settings
from ..core.definition import inputs
from ..core.definition.context import Results, StepContext
from ..core.definition.saga import SagaDefinition
from ..core.definition.steps import Step
from ..core.history_events import HistoryEvent
from ..core.planner import Claim
from ..core.states import FORWARD_STATES, PASSED_STATES, Direction, Hold, SagaState, StepState
from ..exceptions import InputRefused, Misconfigured, describe_error
from ..models import SagaAttempt, SagaStep
from ..participants.routing import require_participant_database
from . import closed_hooks, holds, settle
from .execute import ClaimedStep, repeater_of
from .store.draft import SagaDraft

BACK_STATES = frozenset({StepState.PENDING, StepState.REFUSED, StepState.COMPENSATED})  # there is nothing to undo
DIRECTION_EVENTS = {
    Direction.ACTION: HistoryEvent.STEP_CLAIMED,
    Direction.COMPENSATION: HistoryEvent.COMPENSATION_CLAIMED,
}


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """Work that follows a claim or a record."""

    claimed: ClaimedStep | None = None
    """The step that this worker executes now; None: none."""
    wakeups: tuple[str, ...] = ()
    """Queues to wake: one for each further due step, and one if the ``on_closed`` hook is due."""
    call: closed_hooks.HookCall | None = None
    """The call of an ``on_closed`` hook that this worker has claimed; it is made after the commit."""
    is_worth_writing: bool = True
    """Whether the draft changed."""
    interrupt: BaseException | None = None
    """The exception that asked this process to end while the step ran; raised again after the wake-ups."""


def claim_next(draft: SagaDraft, *, queues: frozenset[str] | None, worker: str, may_claim: bool) -> ClaimResult:
    """Settle the saga, claim the first due step of the given queues, and return which queues to wake.

    ``may_claim`` False: nothing is claimed; every due step is woken.
    """
    before, queues_before = draft.saga.due_at, _queues_of(draft)
    plan = settle.settle(draft)
    settings = get_settings()
    claimed: ClaimedStep | None = None
    wakeups: list[str] = []
    for claim in plan.claims:
        if draft.definition is None:
            break
        queue = settings.queue_of(draft.definition.step(claim.step))
        is_ours = claimed is None and may_claim and (queues is None or queue in queues)
        if is_ours:
            claimed = _claim(draft, claim, worker)
        else:
            wakeups.append(queue)
    if plan.claims:
        # Further steps of a group stay due now, so that the sweep covers a lost wake-up; else the lease end is due.
        settle.refresh_due(draft)
        due_at = draft.saga.due_at
        if claimed is None and before is not None and due_at is not None and before < due_at <= draft.now:
            draft.saga.due_at = before  # still due and unclaimed: it keeps its place among the oldest
    call = closed_hooks.claim_call(draft) if may_claim else None
    if call is None and closed_hooks.is_owed(draft):
        wakeups.append(settings.common_queue)
    is_changed = call is not None or draft.is_dirty or draft.saga.due_at != before or _queues_of(draft) != queues_before
    return ClaimResult(claimed=claimed, wakeups=tuple(wakeups), call=call, is_worth_writing=is_changed)


def hold_unclaimable(draft: SagaDraft, error: Exception) -> None:
    """Hold the first unfinished step, because the project's own code raised while the saga was claimed."""
    saga = draft.saga
    if is_forward := saga.state in FORWARD_STATES:
        todo = [step for step in draft.steps if step.state not in PASSED_STATES]
    else:
        todo = [step for step in reversed(draft.steps) if step.state not in BACK_STATES]
    step = todo[0] if todo else draft.steps[-1]
    reason = f"The project's code keeps this step from being claimed: {describe_error(error)}"
    holds.set_hold(draft, step, Hold.MISCONFIGURED, reason=reason)
    times = [other.lease_until for other in draft.steps if other.lease_until]
    times += [saga.deadline_at] if is_forward and saga.deadline_at else []
    saga.due_at = min((moment for moment in times if moment > draft.now), default=None)


def _queues_of(draft: SagaDraft) -> list[str]:
    return [draft.saga.queue, *draft.saga.other_queues]


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """Input and database of a step, obtained from the project's code before the attempt is opened."""

    typed_input: object
    database: str
    """Alias of the participant's database."""


def _claim(draft: SagaDraft, claim: Claim, worker: str) -> ClaimedStep | None:
    """Open an attempt, or hold the step with the reason if the project's code does not allow one."""
    definition = draft.definition
    if definition is None:
        return None
    declared = definition.step(claim.step)
    step = draft.step(claim.step)
    try:
        prepared = _prepare(draft, definition, declared)
    except InputRefused as error:
        holds.set_hold(draft, step, Hold.MISCONFIGURED, reason=f"The stored input does not fit the code: {error}")
        return None
    except Misconfigured as error:
        holds.set_hold(draft, step, Hold.MISCONFIGURED, reason=str(error))
        return None
    attempt = _open(draft, step, declared, claim.direction, worker)
    return _describe(draft, declared, attempt, prepared)


def _prepare(draft: SagaDraft, definition: type[SagaDefinition], declared: Step) -> _Prepared:
    """Return the typed input and the participant's database, from the project's input class and routers.

    Raises: InputRefused; Misconfigured when a router fails or names a database that is not in DATABASES.
    """
    typed_input = inputs.load(definition.input, draft.saga.input)
    return _Prepared(typed_input=typed_input, database=require_participant_database(definition, declared))


def _open(draft: SagaDraft, step: SagaStep, declared: Step, direction: Direction, worker: str) -> SagaAttempt:
    saga, settings, before = draft.saga, get_settings(), step.state
    if before == StepState.UNKNOWN:
        # What an operator saw at the participant is outdated once the step runs again: open forms become stale.
        draft.bump_revision()
    if direction is Direction.ACTION:
        step.run()
    elif step.state != StepState.COMPENSATING:
        step.compensate()
        step.budget_used, step.budget_started_at = 0, None
    timeout = settings.attempt_timeout(declared, direction)
    number = draft.count_attempt(step, direction)
    step.lease_token, step.lease_until = uuid4(), draft.now + timeout + settings.lease_margin
    step.due_at, step.waiting_for, step.is_assumed, step.is_woken = None, None, False, False
    step.budget_used += 1
    step.budget_started_at = step.budget_started_at or draft.now
    step.started_at = step.started_at or draft.now
    attempt = SagaAttempt(
        saga_id=saga.pk, step_id=step.pk, direction=direction.value, number=number, epoch=step.epoch,
        lease_token=step.lease_token, worker=worker[:120], started_at=draft.now, deadline_at=draft.now + timeout,
    )  # fmt: skip
    draft.open_attempt(attempt)
    if saga.state == SagaState.PENDING:
        saga.begin()
        draft.bump_revision()
        draft.add_history(HistoryEvent.SAGA_RUNNING, from_state=SagaState.PENDING.value, to_state=saga.state)
    draft.add_history(
        DIRECTION_EVENTS[direction],
        step=step,
        from_state=before,
        to_state=step.state,
        data={"attempt": number, "worker": worker},
    )
    return attempt


def _describe(draft: SagaDraft, declared: Step, attempt: SagaAttempt, prepared: _Prepared) -> ClaimedStep:
    settings = get_settings()
    direction = Direction(attempt.direction)
    timeout = settings.attempt_timeout(declared, direction)
    context: StepContext[object] = StepContext(
        saga_id=draft.saga.pk,
        step=declared.name,
        direction=direction,
        input=prepared.typed_input,
        results=Results({step.name: step.result for step in draft.steps if step.result is not None}),
        attempt=attempt.number,
        epoch=attempt.epoch,
        expires_at=time.monotonic() + timeout.total_seconds(),
    )
    if direction is Direction.COMPENSATION and declared.external and declared.action is not None:
        object.__setattr__(context, "repeater", repeater_of(declared.action, context))
    return ClaimedStep(
        saga_id=draft.saga.pk,
        step=declared,
        direction=direction,
        token=attempt.lease_token,
        context=context,
        timeout=timeout,
        database=prepared.database,
        joins_engine=not declared.external and prepared.database == settings.database,
    )
