"""Advancing a saga: claim, execute and record steps in a loop, until it must wait.

One transaction records a step and claims the next one, which is executed at once. Only the holder of the current
lease token may record; ``late_answers`` decides what the answer of a stale token changes.

Source: oban-bg/oban ``lib/oban/queues/executor.ex`` (a job's life as named stages).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError

from .. import transactions
from ..conf import get_settings
from ..core import outcomes
from ..core.outcomes import Report
from ..databases import is_conflict, refresh_connection
from ..exceptions import SagaError, SagaNotFound, WorkerDied
from . import claim, closed_hooks, execute, late_answers, step_transitions
from .claim import ClaimResult
from .execute import ClaimedStep
from .notify import eager, wakeup_sending
from .start_saga import start
from .store.rows import SAGAS, RowStore
from .store.unit_of_work import SagaUnitOfWork

__all__ = ["advance", "start"]

logger = logging.getLogger(__name__)

CONNECTION_ERRORS = (OperationalError, InterfaceError, transactions.ConnectionAltered)
CLAIM_TRIES = 3
RECORD_TRIES = 5
RECORD_PAUSE_SECONDS = 0.2  # doubled at each retry; the lease margin (20 s by default) covers the sum


class _StaleToken(Exception):
    """Signal that rolls back the transaction of a local step whose lease was lost, and its effect with it."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Constants of one worker's run on one saga."""

    saga_id: UUID
    queues: frozenset[str] | None
    worker: str
    ends_at: float
    should_stop: Callable[[], bool]
    rows: RowStore = SAGAS

    @property
    def may_go_on(self) -> bool:
        return not self.should_stop() and time.monotonic() < self.ends_at

    def ending(self) -> _Run:
        """Return a copy for a process that must end: it records, and claims nothing more."""
        return replace(self, should_stop=lambda: True)


@dataclass(kw_only=True)
class _Joined:
    """Progress of a local step's transaction."""

    reached: str = "begin"
    """The stage that an error comes from: begin, function, record or commit."""
    following: ClaimResult = field(default_factory=ClaimResult)
    """The result of the claim that followed the record."""


def advance(
    saga_id: UUID,
    *,
    queues: frozenset[str] | None = None,
    worker: str = "",
    should_stop: Callable[[], bool] = lambda: False,
    rows: RowStore = SAGAS,
) -> int:
    """Execute the due steps of a saga until it waits or is closed, or this worker's time slice ends.

    ``queues`` are those that this worker serves (None: all); steps of other queues are woken. ``rows``: the tables that
    hold it, those of sagas unless an intent is advanced.
    Returns: how many attempts were executed; 0 also when there is no such saga or another worker holds its steps.
    Locks: the saga row, only while claiming and recording.
    Raises: SystemExit or KeyboardInterrupt that a step function raised, once its attempt is recorded.
    Tx: must not be inside one.
    """
    run = _Run(
        saga_id=saga_id,
        queues=queues,
        worker=worker,
        ends_at=time.monotonic() + get_settings().time_slice.total_seconds(),
        should_stop=should_stop,
        rows=rows,
    )
    count = 0
    with eager.held_back():
        claimed = _claim_first(run)
        while claimed is not None:
            count += 1
            claimed = _step(run, claimed)
    return count


def _claim_first(run: _Run) -> ClaimedStep | None:
    using = run.rows.using
    refresh_connection(using)
    for tries_left in reversed(range(CLAIM_TRIES)):
        try:
            return _wake_others(run, _claim_once(run, using))
        except SagaNotFound:
            logger.info("Wake-up for an unknown saga ignored.", extra={"saga_id": str(run.saga_id)})
            return None
        except (DatabaseError, InterfaceError, transactions.ConnectionAltered) as error:
            # Foreign code may have left a search path behind in which the engine's tables are missing.
            refresh_connection(using, is_broken=True)
            may_pass = is_conflict(error) or isinstance(error, ProgrammingError | transactions.ConnectionAltered)
            if tries_left == 0 or not may_pass:
                raise
        except (SagaError, ImproperlyConfigured):
            raise  # an error of the engine itself, or of every saga
        except Exception as error:
            _hold(run, using, error)
            logger.exception("Saga cannot be advanced; it is held.", extra={"saga_id": str(run.saga_id)})
            return None
    return None


def _claim_once(run: _Run, using: str) -> ClaimResult:
    with transactions.own_transaction(using, durable=True):
        work = run.rows.lock(run.saga_id, checks_session=True)
        following = claim.claim_next(work, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)
        if following.is_worth_writing:
            work.write()
    return following


def _hold(run: _Run, using: str, error: Exception) -> None:
    """Hold a saga that cannot be claimed because of the project's code, so that operators see it with the reason."""
    with transactions.own_transaction(using, durable=True):
        work = run.rows.lock(run.saga_id)
        claim.hold_unclaimable(work, error)
        work.write()


def _step(run: _Run, claimed: ClaimedStep) -> ClaimedStep | None:
    """Execute a claimed step, record it, and return the next one if this worker goes on."""
    logger.debug("Step started.", extra=execute.facts_of(claimed))
    following = (
        _run_joined(run, claimed) if claimed.joins_engine else _record(run, claimed, execute.execute_step(claimed))
    )
    return _wake_others(run, following)


def _run_joined(run: _Run, claimed: ClaimedStep) -> ClaimResult:
    """Execute a local step in the engine's database; its effect, its record and the next claim commit together."""
    joined = _Joined()
    try:
        _commit_joined(run, claimed, joined)
        return joined.following
    except _StaleToken:
        logger.warning("Stale local attempt rolled back.", extra=execute.facts_of(claimed))
        return ClaimResult()
    except WorkerDied:
        raise
    except BaseException as error:  # noqa: BLE001 - every error of a step function becomes an outcome
        refresh_connection(get_settings().database, is_broken=isinstance(error, transactions.ConnectionAltered))
        report = _judge_joined(claimed, joined, error)
    # Only if the COMMIT itself failed may the step have been recorded.
    unanswered = (joined.following, outcomes.succeeded(None)) if joined.reached == "commit" else None
    return _record(run, claimed, report, unanswered=unanswered)


def _commit_joined(run: _Run, claimed: ClaimedStep, joined: _Joined) -> None:
    using = get_settings().database
    with transactions.own_transaction(using, durable=True, keeps_isolation=True):
        execute.set_timeouts(using, claimed.timeout)
        joined.reached = "function"
        result = execute.run_function(claimed)
        joined.reached = "record"
        work = run.rows.lock(run.saga_id, checks_mark=True)
        following = _record_in(run, work, claimed, outcomes.succeeded(result))
        if following is None:
            raise _StaleToken
        work.write()
        transactions.log_failing_callbacks(using, execute.facts_of(claimed))
        joined.following, joined.reached = following, "commit"


def _judge_joined(claimed: ClaimedStep, joined: _Joined, error: BaseException) -> Report:
    """Return the report for an error that rolled a local step back; only an error of the COMMIT leaves that open."""
    is_the_engines = joined.reached != "function" and is_conflict(error)
    if is_the_engines or (joined.reached == "begin" and isinstance(error, CONNECTION_ERRORS)):
        return outcomes.faultless(error, redact=execute.redact_text)
    return execute.judge(claimed, error, is_rolled_back=True)


def _record(
    run: _Run, claimed: ClaimedStep, report: Report, *, unanswered: tuple[ClaimResult, Report] | None = None
) -> ClaimResult:
    """Record an outcome in a transaction of its own, with retries across restarts of the database.

    ``unanswered`` is what a COMMIT without an answer recorded: the rows are checked by token before a retry. If the
    process must end, nothing more is claimed.
    """
    if report.interrupt is None:
        return _try_to_record(run, claimed, report, unanswered)
    return replace(_try_to_record(run.ending(), claimed, report, unanswered), interrupt=report.interrupt)


def _try_to_record(
    run: _Run, claimed: ClaimedStep, report: Report, unanswered: tuple[ClaimResult, Report] | None
) -> ClaimResult:
    using = run.rows.using
    pause = RECORD_PAUSE_SECONDS
    for tries_left in reversed(range(RECORD_TRIES)):
        try:
            if unanswered is not None and _is_recorded(run, claimed, *unanswered):
                return unanswered[0]
            with transactions.own_transaction(using, durable=True):
                work = run.rows.lock(run.saga_id, checks_session=True)
                live = _record_in(run, work, claimed, report)
                following = live if live is not None else late_answers.keep(work, claimed, report)
                work.write()
                unanswered = following, report
            return following
        except SagaNotFound:
            logger.warning("Saga was deleted; its attempt is not recorded.", extra={"saga_id": str(run.saga_id)})
            return ClaimResult()
        except (DatabaseError, InterfaceError, transactions.ConnectionAltered):
            if tries_left == 0:
                raise
            logger.warning("Record failed; trying again.", extra={"saga_id": str(run.saga_id)}, exc_info=True)
            refresh_connection(using, is_broken=True)
            time.sleep(pause)
            pause *= 2
    return ClaimResult()


def _record_in(run: _Run, work: SagaUnitOfWork, claimed: ClaimedStep, report: Report) -> ClaimResult | None:
    """Record under the lease token and claim the next step; return None when the token is stale."""
    step = work.step(claimed.step.name)
    if step.lease_token != claimed.token:
        return None
    step_transitions.record(work, step, claimed.direction, report)
    return claim.claim_next(work, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)


def _is_recorded(run: _Run, claimed: ClaimedStep, following: ClaimResult, report: Report) -> bool:
    """Return whether a COMMIT without an answer took place.

    It did if the attempt that it claimed exists or, when it claimed none, if this attempt has ended as reported.
    Locks: the saga row; a transaction that still commits holds it, so the answer is final.
    """
    using = run.rows.using
    with transactions.own_transaction(using, durable=True):
        run.rows.lock(claimed.saga_id, checks_session=True)
        attempts = run.rows.attempts.objects.using(using)
        if following.claimed is not None:
            return bool(attempts.filter(lease_token=following.claimed.token).exists())
        return bool(attempts.filter(lease_token=claimed.token, outcome=report.outcome.value).exists())


def _wake_others(run: _Run, following: ClaimResult) -> ClaimedStep | None:
    for queue in following.wakeups:
        wakeup_sending.send(run.saga_id, queue)
    if following.call is not None:
        closed_hooks.call(following.call)
    if following.interrupt is not None:
        if following.claimed is not None:
            # A callback of the commit that claimed this step asked for the end; not run, it would count as lost.
            _step(run.ending(), following.claimed)
        raise following.interrupt
    return following.claimed
