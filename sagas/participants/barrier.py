"""Barrier: guards a participant with its own database against repeats, late actions and empty compensations.

One row per (step key, direction, epoch) is stored beside the participant's data and commits with them. A repeat finds
the stored result. A compensation that comes first leaves a tombstone, and the late action is fenced. In the engine's
database the step and attempt rows serve instead.

Source: DTM, the sub-transaction barrier (dtm-labs/dtm ``client/dtmcli/barrier.go``).
"""

from dataclasses import dataclass
from typing import Any

from django.db import connections

from .. import clock, transactions
from ..core.states import Direction
from ..exceptions import Fenced
from ..models import BarrierState, SagaBarrier


@dataclass(frozen=True, kw_only=True)
class Entry:
    """State of the barrier when an attempt arrives."""

    is_done: bool = False
    """Whether the call has already happened; ``result`` is what it returned."""
    is_empty: bool = False
    """Whether this is a compensation whose action never passed the barrier and never will: nothing is to undo."""
    result: dict[str, Any] | None = None
    """The stored result, for a repeat."""


def enter(using: str, key: str, direction: Direction, epoch: int, *, is_local: bool = False) -> Entry:
    """Pass the barrier, or return why the function must not run.

    ``is_local``: the effect commits with the row, so a compensation done in one epoch is not repeated in another.
    Raises: Fenced when an action arrives after its compensation.
    Locks: the action's barrier row, so that an action and its compensation are serialized; then a compensation's own.
    Tx: must be inside the participant's transaction.
    """
    action, _ = _take(using, key, Direction.ACTION, 0, direction)
    if direction is Direction.ACTION:
        return _enter_action(using, action)
    row, is_new_compensation = _take(using, key, Direction.COMPENSATION, epoch, direction)
    if not is_new_compensation and row.state == BarrierState.DONE:
        return Entry(is_done=True, result=row.result)
    if is_local and (earlier := _find_done_compensation(using, key)) is not None:
        finish(using, key, direction, epoch, earlier.result)
        return Entry(is_done=True, result=earlier.result)
    return Entry(is_empty=action.state == BarrierState.TOMBSTONE)


def finish(using: str, key: str, direction: Direction, epoch: int, result: dict[str, Any] | None) -> None:
    """Store the result under the key; a tombstone is kept.

    Tx: inside the participant's transaction, or one of its own after an external call.
    """
    SagaBarrier.objects.using(using).filter(key=key, direction=direction.value, epoch=epoch).exclude(
        state=BarrierState.TOMBSTONE.value
    ).update(state=BarrierState.DONE.value, result=result, finished_at=clock.read_now(using))


def _find_done_compensation(using: str, key: str) -> SagaBarrier | None:
    done = {"direction": Direction.COMPENSATION.value, "state": BarrierState.DONE.value}
    return SagaBarrier.objects.using(using).filter(key=key, **done).order_by("epoch").first()


def _enter_action(using: str, row: SagaBarrier) -> Entry:
    # Also checked for a new row: the action's row may have been lost while the compensation's was not.
    compensations = SagaBarrier.objects.using(using).filter(key=row.key, direction=Direction.COMPENSATION.value)
    if row.state == BarrierState.TOMBSTONE or compensations.exists():
        raise Fenced(f"The compensation of {row.key} came first; the action is refused.")
    if row.state == BarrierState.DONE:
        return Entry(is_done=True, result=row.result)
    return Entry()


def _take(using: str, key: str, direction: Direction, epoch: int, arriving: Direction) -> tuple[SagaBarrier, bool]:
    """Insert the row and lock it, whether new or old; an arriving compensation inserts the action's as a tombstone."""
    is_tombstone = arriving is Direction.COMPENSATION and direction is Direction.ACTION
    state = BarrierState.TOMBSTONE if is_tombstone else BarrierState.INTENT
    now = transactions.read_now(using)
    with connections[using].cursor() as cursor:
        cursor.execute(
            "INSERT INTO sagas_sagabarrier (key, direction, epoch, state, created_at) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (key, direction, epoch) DO NOTHING",
            [key, direction.value, epoch, state.value, now],
        )
        is_new = cursor.rowcount == 1
    row = SagaBarrier.objects.using(using).select_for_update().get(key=key, direction=direction.value, epoch=epoch)
    return row, is_new
