"""Unit of work of an intent: its row as a saga with one step, for the engine's own claims and records.

The engine decides on rows of ``Saga`` and ``SagaStep`` that exist in memory only; what they become is written to the
intent in the participant's database, together with the events that tell the result.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, transaction

from .. import clock, transactions
from ..core import outcomes
from ..core.definition import inputs
from ..core.states import Attention, Direction, Outcome, SagaState
from ..core.survival import ends_process
from ..engine import claim, step_transitions
from ..engine.execute import redact_text
from ..engine.store.unit_of_work import SagaUnitOfWork
from ..events import handlers
from ..events.handlers import Received
from ..exceptions import Misconfigured, SagaNotFound, StaleWrite, describe_error
from ..models import Intent, IntentAttempt, IntentHistory, Saga, SagaAttempt, SagaStep
from . import declaration

logger = logging.getLogger(__name__)

SAGA_FIELDS = (
    "state", "hold", "attention", "revision", "history_count", "cause", "pivot_passed_at", "queue", "due_at",
    "woken_at", "created_at", "updated_at", "closed_at",
)  # fmt: skip
STEP_FIELDS = (
    "state", "hold", "attention", "waiting_for", "due_at", "lease_token", "lease_until", "action_attempts",
    "budget_used", "budget_started_at", "result", "is_assumed", "is_woken", "last_error", "started_at", "finished_at",
)  # fmt: skip
ATTEMPT_FIELDS = (
    "number", "lease_token", "worker", "started_at", "deadline_at", "is_assumed", "ended_at", "outcome", "effect",
    "settles", "error_class", "message", "traceback", "error_group",
)  # fmt: skip
STEP_PK = 1  # of the only step, which has no row


class IntentUnitOfWork(SagaUnitOfWork):
    """Locked intent, as a saga with one step.

    Tx: must be locked, used and written inside one transaction of the participant's database.
    """

    row: Intent
    using: str

    @classmethod
    def lock_intent(cls, using: str, wanted: UUID, *, checks_session: bool = False) -> IntentUnitOfWork:
        """Lock an intent and read the time.

        Raises: SagaNotFound; ConnectionAltered.
        Locks: the intent's row.
        """
        row = Intent.objects.using(using).select_for_update(no_key=True).filter(pk=wanted).first()
        now: datetime = transactions.read_now(using) if checks_session else clock.read_now(using)
        if row is None:
            raise SagaNotFound(f"There is no intent {wanted}.")
        return cls.of_row(using, row, now)

    @classmethod
    def of_row(cls, using: str, row: Intent, now: datetime) -> IntentUnitOfWork:
        """Return the unit of work of a row that is locked, or is only read."""
        declared = declaration.find(row.definition)
        saga = Saga(
            id=row.pk,
            definition=row.definition,
            version=row.version,
            digest="",
            input=row.input,
            traceparent=row.traceparent,
            **{name: getattr(row, name) for name in SAGA_FIELDS},
        )
        step = SagaStep(
            pk=STEP_PK,
            saga=saga,
            name=row.definition.partition(".")[2],
            position=0,
            rank=0,
            kind=declaration.definition_of(declared).steps[0].kind.value if declared else "pivot",
            **{name: getattr(row, f"step_{name}") for name in STEP_FIELDS},
        )
        work = cls(saga, [step], now)
        work.row, work.using = row, using
        work.definition = declaration.definition_of(declared) if declared is not None else None
        return work

    def _read_attempts(self) -> list[SagaAttempt]:
        if self._attempts is None:
            rows = IntentAttempt.objects.using(self.using).filter(intent_id=self.row.pk).order_by("id")
            self._attempts = [
                SagaAttempt(
                    saga_id=self.row.pk,
                    step_id=STEP_PK,
                    direction=Direction.ACTION.value,
                    epoch=0,
                    **{name: getattr(row, name) for name in ATTEMPT_FIELDS},
                )
                for row in rows
            ]
        return super()._read_attempts()

    def write(self, *, is_due_again: bool = True) -> None:
        """Write the intent, and run what follows its end in the same transaction.

        If that fails, the intent is held with the reason instead; the call is asked again once an operator retries.
        Raises: StaleWrite when the row had moved; database errors.
        """
        was_open = self.row.closed_at is None
        is_late = self._close_again()
        if (was_open and self.saga.closed_at is not None) or is_late:
            try:
                with transaction.atomic(using=self.using):
                    self._run_end(is_late=is_late)
            except DatabaseError:
                raise
            except BaseException as error:
                if ends_process(error):
                    raise
                logger.exception("What follows an intent failed; it is held.", extra={"intent": str(self.row.pk)})
                self._hold_instead(error)
                return
        self.write_rows(is_due_again=is_due_again)

    def _close_again(self) -> bool:
        """Close an intent that a late success has reopened; return whether there was one."""
        if self.row.closed_at is None or self.saga.closed_at is not None:
            return False
        self.saga.finish_compensating()
        self.saga.closed_at, self.saga.due_at, self.saga.hold = self.now, None, None
        self.saga.attention = [Attention.LATE_EFFECT.value]
        for step in self.steps:
            step.hold, step.due_at = None, None
        self.row.late_success_at = self.now
        return True

    def _run_end(self, *, is_late: bool) -> None:
        declared = declaration.find(self.row.definition)
        if declared is None:
            raise Misconfigured(f"The code has no intent {self.row.definition}.")
        [step] = self.steps
        has_succeeded = is_late or self.saga.state == SagaState.COMPLETED
        cause = self.saga.cause or {}
        ended = declaration.Ended(
            id=self.row.pk,
            key=self.row.key,
            input=inputs.load(declared.input, self.row.input),
            result=step.result or {} if has_succeeded else {},
            reason="" if has_succeeded else str(cause.get("message", "")) or str(cause.get("reason", "")),
            error_class=str(cause.get("error_class", "")) if cause.get("kind") == "refused" else "",
            is_assumed=step.is_assumed,
            is_late=is_late,
        )
        if not has_succeeded:
            function = declared.on_refusal
        else:
            function = (declared.on_late_success if is_late else None) or declared.on_success
        if function is None:
            raise Misconfigured(f"Intent {declared.stored_name} has no on_refusal.")
        token = handlers.current.set(self._envelope())
        try:
            with transactions.guarded_connections():
                function(ended)
        finally:
            handlers.current.reset(token)

    def _envelope(self) -> Received:
        """Return what events published now name as their cause: the event whose handler wrote the intent."""
        row = self.row
        return Received(
            id=row.causation_id,
            type="",
            source="",
            key=row.key,
            consumer=row.participant,
            correlation_id=row.correlation_id,
            causation_id="",
            traceparent=row.traceparent,
            recorded_at=None,
            attempt=1,
        )

    def _hold_instead(self, error: BaseException) -> None:
        """Hold the intent as it was before, with the live attempt ended as misconfigured."""
        fresh = IntentUnitOfWork.lock_intent(self.using, self.row.pk)
        [step] = fresh.steps
        text = f"What follows the call failed: {describe_error(error)}"
        report = outcomes.unstorable(Misconfigured(text), redact=redact_text)
        if step.lease_token is None:
            raise Misconfigured(text) from error
        step_transitions.record(fresh, step, Direction.ACTION, report)
        claim.claim_next(fresh, queues=None, worker="", may_claim=False)
        fresh.write_rows()

    def write_rows(self, *, is_due_again: bool = True) -> None:
        """Write the intent, its attempts and its history, without anything that follows.

        Raises: StaleWrite when the row had moved.
        """
        row, saga, [step] = self.row, self.saga, self.steps
        guard = {
            "pk": row.pk, "revision": row.revision, "history_count": row.history_count, "step_state": row.step_state,
            "step_lease_token": row.step_lease_token,
        }  # fmt: skip
        saga.updated_at = self.now
        if is_due_again:
            saga.woken_at = None
        values: dict[str, Any] = {name: getattr(saga, name) for name in SAGA_FIELDS}
        values |= {f"step_{name}": getattr(step, name) for name in STEP_FIELDS}
        values["late_success_at"] = row.late_success_at
        for token, closed in self._closed.items():
            found = IntentAttempt.objects.using(self.using).filter(lease_token=token)
            found.exclude(outcome__isnull=False).update(**closed)
            found.filter(outcome=Outcome.UNKNOWN.value).update(**closed)
        IntentAttempt.objects.using(self.using).bulk_create(
            IntentAttempt(intent_id=row.pk, **{name: getattr(attempt, name) for name in ATTEMPT_FIELDS})
            for attempt in self._opened
        )
        if Intent.objects.using(self.using).filter(**guard).update(**values) != 1:
            raise StaleWrite(f"Intent {row.pk} had moved.")
        IntentHistory.objects.using(self.using).bulk_create(
            IntentHistory(
                intent_id=row.pk,
                **{name: entry[name] for name in ("number", "at", "what", "from_state", "to_state", "actor", "reason")},
                data=entry["data"],
            )
            for entry in self._history
        )
