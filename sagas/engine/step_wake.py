"""Waking of steps: a waiting step is retried at once, because what it waits for may have come.

A wake decides nothing. It moves the due time of a waiting step. A step with a live attempt gets a mark on its row, and
the record of that attempt makes the step due at once. Both happen under the saga row's lock, so no wake is lost
between an attempt that saw nothing yet and its record.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from ..conf import get_settings
from ..core import json_values
from ..core.history_events import HistoryEvent
from ..core.states import Direction, Outcome, SagaState, StepState
from ..exceptions import SagaNotFound, StepNotFound
from ..models import Saga, SagaStep
from ..transactions import own_transaction
from . import claim, step_transitions
from .notify import wakeup_sending
from .store.snapshot import SagaSnapshot
from .store.unit_of_work import SagaUnitOfWork

MAX_NAME_CHARS, MAX_REASON_CHARS = 200, 500


@dataclass(frozen=True, kw_only=True)
class WakeResult:
    """Result of a wake, step by step. Steps that are finished or not reached yet are in none of the lists."""

    saga_id: UUID
    state: str
    """The saga's state."""
    hold: str
    """Why the saga is held, or an empty string. Due steps then wait for the end of the hold."""
    due: tuple[str, ...]
    """Waiting steps, which are retried at once."""
    marked: tuple[str, ...]
    """Steps with a live attempt, which are retried as soon as it ends, unless it brings the answer."""
    held: tuple[str, ...]
    """Held steps; a wake does not end a hold."""

    @property
    def will_retry(self) -> bool:
        """Return whether a step is retried because of this wake or an earlier one."""
        return bool(self.due or self.marked)

    @property
    def message(self) -> str:
        """Return the result as one sentence."""
        if not SagaState(self.state).is_open:
            return f"The saga is {self.state}; nothing waits any more."
        parts = [f"retried {when}: {', '.join(names)}" for when, names in self._list_times() if names]
        parts += [f"held for an operator: {', '.join(self.held)}"] if self.held else []
        parts += [f"the saga is held: {self.hold}"] if self.hold else []
        text = "; ".join(parts) or "nothing waits; a step that is not reached yet reads current data when it runs"
        return f"{text[0].upper()}{text[1:]}."

    def _list_times(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        return (("at once", self.due), ("when its attempt ends", self.marked))


def wake(saga: Saga | UUID | str, step: str | None = None, *, actor: str = "", reason: str = "") -> WakeResult:
    """Retry a waiting step of a saga at once, or all of its waiting steps.

    Budgets are unchanged: a poll of a step in progress is free, and an attempt after a failure counts as usual.
    Waking twice is harmless. ``actor`` and ``reason`` go into the history.
    Raises: SagaNotFound; StepNotFound, which lists the saga's steps; InputRefused for an actor or a reason that cannot
    be stored.
    Tx: joins the caller's transaction of the engine's database, so that the wake commits together with what the step
    waits for; opens its own, at READ COMMITTED, if there is none. Wake-ups are sent after the commit.
    Locks: the saga row, until the caller's commit. Write the rows that steps read before you call it.
    """
    saga_id = read_id(saga)
    json_values.require_text(actor, "The actor")
    json_values.require_text(reason, "The reason")
    with own_transaction(get_settings().database, joins=True):
        work = SagaUnitOfWork.lock(saga_id)
        chosen = _choose(work, step)
        if SagaState(work.saga.state).is_open:
            step_transitions.expire_leases(work)
        result = _describe(work, chosen)
        for name in (*result.due, *result.marked):
            _wake_step(work, work.step(name), actor, reason)
        following = claim.claim_next(work, queues=None, worker="", may_claim=False)
        if following.is_worth_writing:
            work.write()
        wakeup_sending.send_after_commit(saga_id, following.wakeups)
    return result


def read_id(saga: Saga | UUID | str) -> UUID:
    """Return the id of a saga given by its row, its id or the id as text.

    Raises: SagaNotFound for anything else.
    """
    if isinstance(saga, Saga):
        return UUID(str(saga.pk))
    try:
        return saga if isinstance(saga, UUID) else UUID(saga)
    except (ValueError, TypeError, AttributeError):
        raise SagaNotFound(f"{saga!r} is neither a saga nor a saga id.") from None


def _choose(snapshot: SagaSnapshot, step: str | None) -> list[SagaStep]:
    if step is None:
        return snapshot.steps
    try:
        return [snapshot.step(step)]
    except KeyError:
        names = ", ".join(row.name for row in snapshot.steps)
        raise StepNotFound(f"Saga {snapshot.saga.pk} has no step {step!r}; it has: {names}.") from None


def _describe(snapshot: SagaSnapshot, steps: Iterable[SagaStep]) -> WakeResult:
    state = SagaState(snapshot.saga.state)
    # In a choreographed saga nothing is asked again: participants send what they owe.
    rows = list(steps) if state.is_open and not snapshot.saga.is_choreographed else []
    return WakeResult(
        saga_id=snapshot.saga.pk,
        state=state.value,
        hold=snapshot.saga.hold or "",
        due=tuple(row.name for row in rows if row.due_at is not None and not _is_second_look(snapshot, row)),
        marked=tuple(row.name for row in rows if row.is_live),
        held=tuple(row.name for row in rows if row.hold is not None),
    )


def _is_second_look(snapshot: SagaSnapshot, step: SagaStep) -> bool:
    """Return whether a compensation succeeded and waits for its verification (``verify_after``)."""
    if step.state != StepState.COMPENSATING:
        return False
    attempts = snapshot.attempts_of(step, Direction.COMPENSATION)
    return bool(attempts) and attempts[-1].outcome == Outcome.SUCCEEDED and attempts[-1].epoch == step.epoch


def _wake_step(work: SagaUnitOfWork, step: SagaStep, actor: str, reason: str) -> None:
    if step.is_live:
        is_new, step.is_woken = not step.is_woken, True
    else:
        is_new = step.due_at is not None and step.due_at > work.now
        step.due_at = work.now if is_new else step.due_at
    if is_new:
        work.add_history(
            HistoryEvent.STEP_WOKEN,
            step=step,
            from_state=step.state,
            to_state=step.state,
            actor=get_settings().redactor.redact_text(actor)[:MAX_NAME_CHARS] or None,
            reason=reason[:MAX_REASON_CHARS],
            data={"is_live": step.is_live},
        )
