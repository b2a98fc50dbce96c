"""Run sagas: start one, and advance one as far as it goes now.

``advance`` is claim → perform → record, in a loop: recording a step and claiming the next one is one transaction,
and the next step runs at once. A lease token decides who may record; a stale token moves nothing by itself.

Source: oban-bg/oban ``lib/oban/queues/executor.ex`` (a job's life as named stages).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, transaction

from . import claims, doorbell, evidence, moves, outcomes, perform
from .claims import Next
from .conf import get_settings
from .databases import refresh_connection
from .exceptions import SagaNotFound
from .journal import Journal
from .models import SagaAttempt
from .outcomes import Report
from .perform import Claimed
from .starting import start

__all__ = ["advance", "start"]

logger = logging.getLogger(__name__)

CONNECTION_ERRORS = (OperationalError, InterfaceError)
RECORD_TRIES = 5
RECORD_PAUSE_SECONDS = 0.2  # doubled at each try; the lease margin (20 s by default) covers the sum


class _StaleToken(Exception):
    """Leave the transaction of a local step whose lease was lost, so that its effect is rolled back."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Hold what stays the same while one worker works on one saga."""

    saga_id: UUID
    queues: frozenset[str] | None
    worker: str
    ends_at: float
    should_stop: Callable[[], bool]

    @property
    def may_go_on(self) -> bool:
        return not self.should_stop() and time.monotonic() < self.ends_at


def advance(
    saga_id: UUID,
    *,
    queues: frozenset[str] | None = None,
    worker: str = "",
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Do what can be done now for a saga, step after step, until it waits, is over, or this worker's time slice ends.

    ``queues`` are those that this worker serves (None: all); steps of others are rung for.
    Returns: how many attempts were run; 0 also when there is no such saga or another worker has it.
    Locks: the saga row, only while claiming and recording.
    Tx: must not be inside one.
    """
    run = _Run(
        saga_id=saga_id,
        queues=queues,
        worker=worker,
        ends_at=time.monotonic() + get_settings().time_slice.total_seconds(),
        should_stop=should_stop,
    )
    count = 0
    claimed = _claim_first(run)
    while claimed is not None:
        count += 1
        claimed = _step(run, claimed)
    return count


def _claim_first(run: _Run) -> Claimed | None:
    refresh_connection(get_settings().database)
    try:
        with transaction.atomic(using=get_settings().database, durable=True):
            journal = Journal.lock(run.saga_id)
            following = claims.claim_next(journal, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)
            if following.is_worth_writing:
                journal.write()
    except SagaNotFound:
        logger.info("Ring for an unknown saga ignored.", extra={"saga_id": str(run.saga_id)})
        return None
    return _ring_others(run, following)


def _step(run: _Run, claimed: Claimed) -> Claimed | None:
    """Perform one claimed step, record it, and return the next one if this worker goes on."""
    facts = {
        "saga_id": str(run.saga_id), "step": claimed.step.name, "direction": claimed.direction.value,
        "attempt": claimed.context.attempt,
    }  # fmt: skip
    logger.debug("Step started.", extra=facts)
    following = _run_joined(run, claimed) if claimed.joins_engine else _record(run, claimed, perform.perform(claimed))
    return _ring_others(run, following)


def _run_joined(run: _Run, claimed: Claimed) -> Next:
    """Run a local step in the engine's database: its effect, its record and the next claim commit together."""
    using = get_settings().database
    following: Next | None = None
    reached = "begin"
    try:
        with transaction.atomic(using=using, durable=True):
            perform.set_timeouts(using, claimed.timeout)
            reached = "function"
            result = perform.run_function(claimed)
            journal = Journal.lock(run.saga_id)
            following = _record_in(run, journal, claimed, outcomes.succeeded(result))
            if following is None:
                raise _StaleToken
            journal.write()
            reached = "commit"
        return following
    except _StaleToken:
        logger.warning(
            "Stale local attempt rolled back.", extra={"saga_id": str(run.saga_id), "step": claimed.step.name}
        )
        return Next()
    except Exception as error:  # noqa: BLE001 - every error of a step function becomes an outcome
        refresh_connection(using)
        if reached == "begin" and isinstance(error, CONNECTION_ERRORS):
            report = outcomes.unreachable(error, redact=perform.redact_text)
        else:
            report = perform.judge(claimed, error, is_rolled_back=True)
    # Only a transaction that was being committed may have been recorded although it failed.
    unanswered = (following, outcomes.succeeded(None)) if reached == "commit" and following is not None else None
    return _record(run, claimed, report, unanswered=unanswered)


def _record(run: _Run, claimed: Claimed, report: Report, *, unanswered: tuple[Next, Report] | None = None) -> Next:
    """Record an outcome in a transaction of its own, through restarts of the database.

    A COMMIT without an answer (``unanswered``: what it recorded) is read again by token, never repeated blindly.
    """
    using = get_settings().database
    pause = RECORD_PAUSE_SECONDS
    for tries_left in reversed(range(RECORD_TRIES)):
        try:
            if unanswered is not None and _is_recorded(claimed, *unanswered):
                return unanswered[0]
            with transaction.atomic(using=using, durable=True):
                journal = Journal.lock(run.saga_id)
                live = _record_in(run, journal, claimed, report)
                following = live if live is not None else evidence.keep(journal, claimed, report)
                journal.write()
                unanswered = following, report
            return following
        except SagaNotFound:
            logger.warning("Saga is gone; its attempt is not recorded.", extra={"saga_id": str(run.saga_id)})
            return Next()
        except (DatabaseError, InterfaceError):
            if tries_left == 0:
                raise
            logger.warning("Record failed; trying again.", extra={"saga_id": str(run.saga_id)}, exc_info=True)
            refresh_connection(using, is_broken=True)
            time.sleep(pause)
            pause *= 2
    return Next()


def _record_in(run: _Run, journal: Journal, claimed: Claimed, report: Report) -> Next | None:
    """Record under the lease token and claim what follows; None when the token is stale."""
    step = journal.step(claimed.step.name)
    if step.lease_token != claimed.token:
        return None
    moves.record(journal, step, claimed.direction, report)
    return claims.claim_next(journal, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)


def _is_recorded(claimed: Claimed, following: Next, report: Report) -> bool:
    """Tell whether a commit that was not answered took place: the next attempt that it claimed is there, or, where it
    claimed none, this one has ended as reported.

    Locks: the saga row: a transaction still committing holds it, so the answer is final.
    """
    using = get_settings().database
    with transaction.atomic(using=using, durable=True):
        Journal.lock(claimed.saga_id)
        attempts = SagaAttempt.objects.using(using)
        if following.claimed is not None:
            return attempts.filter(lease_token=following.claimed.token).exists()
        return attempts.filter(lease_token=claimed.token, outcome=report.outcome.value).exists()


def _ring_others(run: _Run, following: Next) -> Claimed | None:
    for queue in following.rings:
        doorbell.ring(run.saga_id, queue)
    return following.claimed
