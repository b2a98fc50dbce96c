"""Unit of work: lock one saga, collect its changes, and write all of them in one guarded statement.

Every change of a saga's state goes through here: saga, steps, attempts and history change together or not at all
(invariant I8). Starts, hook times, wake marks and deletions have their own statements. If a guarded row has moved,
StaleWrite is raised and nothing is written.

Locks: the saga row first (FOR NO KEY UPDATE). Its steps are read only then, in their own statement: a snapshot taken
before the lock was granted would show outdated siblings.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import TextField
from django.db.models.expressions import RawSQL

from ... import clock, transactions
from ...alerts import Alert
from ...conf import get_settings
from ...exceptions import SagaNotFound, StaleWrite
from ...models import Saga, SagaAttempt, SagaHistory, SagaStep
from ...models.fields import database_now
from ..notify import alert_dispatch
from . import signatures, statements
from .compiled import CompiledQuery
from .draft import SagaDraft
from .statements import HISTORY_COLUMNS, OPEN_COLUMNS


def _select_saga(using: str, saga_id: UUID, *, nowait: bool) -> Any:
    return Saga.objects.using(using).select_for_update(no_key=True, nowait=nowait).filter(pk=saga_id)


def _select_steps(using: str, saga_id: UUID, *, checks_session: bool, checks_mark: bool) -> Any:
    rows: Any = SagaStep.objects.using(using).filter(saga_id=saga_id).order_by("position")
    rows = rows.annotate(db_now=database_now())
    if checks_session:
        rows = rows.annotate(session=RawSQL(transactions.SESSION_SQL, (), TextField()))  # noqa: S611 - a constant
    if checks_mark:
        rows = rows.annotate(mark=RawSQL(transactions.IS_MARKED_SQL, (), TextField()))  # noqa: S611 - a constant
    return rows


_LOCKED = CompiledQuery(Saga, partial(_select_saga, nowait=False))
_LOCKED_OR_FAIL = CompiledQuery(Saga, partial(_select_saga, nowait=True))
_STEPS = {
    (session, mark): CompiledQuery(SagaStep, partial(_select_steps, checks_session=session, checks_mark=mark))
    for session in (False, True)
    for mark in (False, True)
}

Part = tuple[str, str, list[Any], int]
"""Name, SQL, parameters, and how many rows it must write."""


class SagaUnitOfWork(SagaDraft):
    """Locked saga, its steps, and everything that one statement will write about it.

    Tx: must be locked, used and written inside one transaction of the engine's database.
    """

    @classmethod
    def lock(
        cls, saga_id: UUID, *, nowait: bool = False, checks_session: bool = False, checks_mark: bool = False
    ) -> SagaUnitOfWork:
        """Lock a saga row and read its steps and the time.

        ``checks_session``: check that foreign code has not changed the session; for the first read of a transaction.
        ``checks_mark``: check that a local step which ran in the transaction has not ended it.
        Raises: SagaNotFound; ConnectionAltered; TransactionEnded.
        Locks: the saga row.
        """
        using = get_settings().database
        locked = (_LOCKED_OR_FAIL if nowait else _LOCKED).fetch(using, saga_id)
        if not locked:
            if checks_session:
                transactions.read_now(using)  # with another search path, other tables may have been read
            raise SagaNotFound(f"There is no saga {saga_id}.")
        steps: list[Any] = _STEPS[checks_session, checks_mark].fetch(using, saga_id)
        if checks_session:
            transactions.require_same_session(using, steps[0].session) if steps else transactions.read_now(using)
        if checks_mark and steps:
            transactions.require_marked(using, steps[0].mark)
        now = clock.shifted(steps[0].db_now) if steps else clock.read_now(using)
        return cls(locked[0], list[SagaStep](steps), now)

    def write(self, *, is_due_again: bool = True) -> None:
        """Write everything in one statement.

        ``is_due_again``: whether a sweep may wake the saga again at once, because what is due may have changed.
        Raises: StaleWrite when a guarded row had moved.
        Tx: the caller's.
        """
        saga = self.saga
        saga.updated_at = self.now
        if is_due_again:
            saga.woken_at = None
        attempts = [max(step.action_attempts, step.compensation_attempts) for step in self.steps]
        saga.most_attempts = max(saga.most_attempts, *attempts, 0)
        saga.severity = self.severity().value
        saga.failing_group = self._find_failing_group()
        saga.signature, saga.signature_count = signatures.sign_entries(
            self._history, saga_id=saga.pk, signature=saga.signature, count=saga.signature_count
        )
        closed = [{"token": token, **values} for token, values in self._closed.items()]
        if any(attempt.ended_at is None and attempt.step_id in self._closed_steps for attempt in self._opened):
            # A unique index, checked row by row, allows one live attempt per step: close first, by another statement.
            self._run([("closed", *statements.close_attempts(closed), len(closed))])
            closed = []
        self._run(self._list_parts(closed))
        if self._raised and (alerts := list(self._list_alerts())):
            using = get_settings().database
            transaction.on_commit(lambda: alert_dispatch.announce(alerts), using=using, robust=True)

    def _list_parts(self, closed: list[dict[str, Any]]) -> list[Part]:
        saga, changed = self.saga, [(step, self._old_steps[step.pk]) for step in self._changed_steps()]
        revision, state, history_count = self._old_saga
        update = statements.update_saga(saga, revision=revision, state=state, history_count=history_count)
        parts: list[Part] = [("saga", *update, 1)]
        if changed:
            parts.append(("steps", *statements.update_steps(changed), len(changed)))
        if closed:
            parts.append(("closed", *statements.close_attempts(closed), len(closed)))
        if self._opened:
            opened = [statements.values_of(attempt, OPEN_COLUMNS) for attempt in self._opened]
            parts.append(("opened", *statements.insert(SagaAttempt, OPEN_COLUMNS, opened), len(opened)))
        if self._history:
            history = statements.insert(SagaHistory, HISTORY_COLUMNS, self._history)
            parts.append(("history", *history, len(self._history)))
        if self._keys:
            rows = [{"saga_id": saga.pk, "name": name, "value": value} for name, value in self._keys.items()]
            parts.append(("keys", *statements.upsert_keys(rows), len(rows)))
        return parts

    def _find_failing_group(self) -> str:
        """Return the failure group of the newest failure, as long as a step that failed is not over."""
        fails = any(step.last_error and (step.hold or step.due_at or step.is_live) for step in self.steps)
        if self.saga.closed_at is not None or not fails:
            return ""
        found = [values["error_group"] for values in self._closed.values() if values["error_group"]]
        return str(found[-1]) if found else self.saga.failing_group

    def _list_alerts(self) -> Iterator[Alert]:
        """Yield alerts for the raised reasons, except those that were cleared again before the write."""
        saga = self.saga
        reasons = {*saga.attention, saga.hold, *(step.hold for step in self.steps)}
        for number, reason, step in self._raised:
            if reason in reasons:
                yield Alert(
                    saga_id=saga.pk, number=number, definition=saga.definition, version=saga.version, state=saga.state,
                    reason=reason, step=step, at=self.now,
                )  # fmt: skip

    def _run(self, parts: list[Part]) -> None:
        clauses = ", ".join(f"{name} AS ({sql} RETURNING 1)" for name, sql, _, _ in parts)
        counts = ", ".join(f"(SELECT count(*) FROM {name})" for name, _, _, _ in parts)
        with connections[get_settings().database].cursor() as cursor:
            cursor.execute(f"WITH {clauses} SELECT {counts}", [value for _, _, values, _ in parts for value in values])
            found = cursor.fetchone()
        for (name, _, _, expected), count in zip(parts, found, strict=True):
            if count != expected:
                raise StaleWrite(f"Saga {self.saga.pk}: {count} of {expected} rows of {name!r} were as expected.")
