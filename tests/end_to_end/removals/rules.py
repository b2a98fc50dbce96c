"""Take a rule out of the process that calls this; it stays away until the process ends."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import current_app
from django.db import connections
from django.db.backends.utils import CursorWrapper

from orders import idempotency
from sagas import clock
from sagas.core import outcomes
from sagas.engine import advance as engine
from sagas.engine import claim, late_answers, step_transitions
from sagas.engine.claim import ClaimResult
from sagas.operators.bulk import runner
from sagas.worker import due_work, sweeper


def tell_time_by_the_machine() -> None:
    """Decide by the clock of the host."""

    def shift_seconds() -> float:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            return float((datetime.now(UTC) - cursor.fetchone()[0]).total_seconds())

    clock.shifted = lambda _moment: datetime.now(UTC)
    clock.shift_seconds = shift_seconds


def let_everybody_use_a_key() -> None:
    """Let two requests under one key go on at once."""
    idempotency.lock_key = lambda _user, _key: True


def wake_for_the_oldest_always() -> None:
    """Wake the same sagas again while nothing moves them."""
    rewrite("ORDER BY woken_at NULLS FIRST, due_at", "ORDER BY due_at")


def count_no_lost_worker() -> None:
    """Leave a lost worker out of the budget."""
    report = outcomes.lost_worker
    outcomes.lost_worker = lambda **who: replace(report(**who), is_counted=False)


def accept_pickles() -> None:
    """Unpack whatever a message holds."""
    current_app.conf.update(accept_content=["json", "pickle"])


def serve_every_queue() -> None:
    """Do what belongs to queues of others."""
    advance = engine.advance

    def advance_any(saga_id: UUID, *, queues: Any = None, **who: Any) -> int:
        return advance(saga_id, **who)

    engine.advance = advance_any


def go_on_while_shutting_down() -> None:
    """Claim the next step although the worker shall end."""
    advance = engine.advance

    def advance_on(saga_id: UUID, *, should_stop: Any = None, **who: Any) -> int:
        return advance(saga_id, **who)

    engine.advance = advance_on


def sweep_nothing() -> None:
    """Trust the broker to deliver every wake-up."""
    sweeper.claim_due = lambda **_which: []
    due_work._list_due = lambda _queues: []


def sweep_no_bulks() -> None:
    """Trust the worker that has a bulk to live."""
    runner.wake_due = lambda: 0


def record_under_any_token() -> None:
    """Record whatever comes back, whoever has the lease."""

    def record(run: Any, work: Any, claimed: Any, report: Any) -> ClaimResult:
        step_transitions.record(work, work.step(claimed.step.name), claimed.direction, report)
        return claim.claim_next(work, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)

    engine._record_in = record


def keep_no_late_answers() -> None:
    """Forget what a stale worker has to tell."""
    late_answers.keep = lambda *_late: ClaimResult()


def believe_in_every_lease() -> None:
    """Wait for every worker that ever claimed, also when its lease has ended."""
    step_transitions.expire_leases = lambda _work: None


def rewrite(old: str, new: str) -> None:
    """Let a part of every statement be another one."""
    execute = CursorWrapper.execute

    def execute_rewritten(cursor: CursorWrapper, sql: Any, parameters: Any = None) -> Any:
        return execute(cursor, sql.replace(old, new), parameters)

    CursorWrapper.execute = execute_rewritten


REMOVALS: Mapping[str, Callable[[], None]] = {
    "the database's clock": tell_time_by_the_machine,
    "the lock of a key": let_everybody_use_a_key,
    "those first that were not woken": wake_for_the_oldest_always,
    "lost workers counted": count_no_lost_worker,
    "JSON alone": accept_pickles,
    "queues of its own alone": serve_every_queue,
    "no claim while shutting down": go_on_while_shutting_down,
    "the sweep": sweep_nothing,
    "the sweep of bulks": sweep_no_bulks,
    "the lease token": record_under_any_token,
    "evidence of late answers": keep_no_late_answers,
    "the end of a lease": believe_in_every_lease,
}
