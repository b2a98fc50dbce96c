"""Functions that remove a rule from the calling process until it ends."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import current_app
from celery.worker import strategy
from django.db import connections
from django.db.backends.utils import CursorWrapper

from orders import idempotency
from sagas import clock
from sagas.core import outcomes
from sagas.engine import advance as engine
from sagas.engine import claim, late_answers, step_transitions
from sagas.engine.claim import ClaimResult
from sagas.operators.bulk import runner
from sagas.worker import celery_strategy, due_work, sweeper


def use_host_clock() -> None:
    """Use the host's clock for decisions."""

    def shift_seconds() -> float:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            return float((datetime.now(UTC) - cursor.fetchone()[0]).total_seconds())

    clock.shifted = lambda _moment: datetime.now(UTC)
    clock.shift_seconds = shift_seconds


def skip_key_lock() -> None:
    """Let two requests with one key run concurrently."""
    idempotency.lock_key = lambda _user, _key: True


def always_wake_the_oldest() -> None:
    """Wake the same sagas again even if they never progress."""
    rewrite("ORDER BY woken_at NULLS FIRST, due_at", "ORDER BY due_at")


def ignore_lost_workers() -> None:
    """Do not count lost workers against the budget."""
    report = outcomes.lost_worker
    outcomes.lost_worker = lambda **who: replace(report(**who), is_counted=False)


def accept_pickles() -> None:
    """Let Celery unpickle what a message holds, without examining it first."""
    current_app.conf.update(accept_content=["json", "pickle"])
    take_carefully = celery_strategy.take_carefully

    def take_pickles(*task: Any, **options: Any) -> Callable[..., Any]:
        examine, trust = take_carefully(*task, **options), strategy.default(*task, **options)
        return lambda message, *rest, **more: (
            trust if message.content_type == "application/x-python-serialize" else examine
        )(message, *rest, **more)

    celery_strategy.take_carefully = take_pickles


def serve_every_queue() -> None:
    """Execute steps of other queues."""
    advance = engine.advance

    def advance_any(saga_id: UUID, *, queues: Any = None, **who: Any) -> int:
        return advance(saga_id, **who)

    engine.advance = advance_any


def claim_while_shutting_down() -> None:
    """Claim the next step during shutdown."""
    advance = engine.advance

    def advance_on(saga_id: UUID, *, should_stop: Any = None, **who: Any) -> int:
        return advance(saga_id, **who)

    engine.advance = advance_on


def disable_sweeps() -> None:
    """Rely on the broker to deliver every wake-up."""
    sweeper.claim_due = lambda **_which: []
    due_work._list_due = lambda _queues: []


def disable_bulk_sweeps() -> None:
    """Rely on the worker that holds a bulk to survive."""
    runner.wake_due = lambda: 0


def ignore_lease_tokens() -> None:
    """Record every result, whoever holds the lease."""

    def record(run: Any, work: Any, claimed: Any, report: Any) -> ClaimResult:
        step_transitions.record(work, work.step(claimed.step.name), claimed.direction, report)
        return claim.claim_next(work, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)

    engine._record_in = record


def drop_late_answers() -> None:
    """Drop results of workers that lost their lease."""
    late_answers.keep = lambda *_late: ClaimResult()


def ignore_lease_ends() -> None:
    """Treat leases as valid even after their end."""
    step_transitions.expire_leases = lambda _work: None


def rewrite(old: str, new: str) -> None:
    """Replace a part of every statement."""
    execute = CursorWrapper.execute

    def execute_rewritten(cursor: CursorWrapper, sql: Any, parameters: Any = None) -> Any:
        return execute(cursor, sql.replace(old, new), parameters)

    CursorWrapper.execute = execute_rewritten


REMOVALS: Mapping[str, Callable[[], None]] = {
    "the database's clock": use_host_clock,
    "the lock of a key": skip_key_lock,
    "those first that were not woken": always_wake_the_oldest,
    "lost workers counted": ignore_lost_workers,
    "JSON alone": accept_pickles,
    "queues of its own alone": serve_every_queue,
    "no claim while shutting down": claim_while_shutting_down,
    "the sweep": disable_sweeps,
    "the sweep of bulks": disable_bulk_sweeps,
    "the lease token": ignore_lease_tokens,
    "evidence of late answers": drop_late_answers,
    "the end of a lease": ignore_lease_ends,
}
