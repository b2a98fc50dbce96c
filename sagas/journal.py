"""Lock one saga, collect what changes, and write all of it in one guarded statement.

Every write of the engine and of an operator goes through here: saga, steps, attempts and history change together or
not at all (invariant I8). A guard that meets a row which moved raises StaleWrite, and nothing is written.

Locks: the saga row first (FOR NO KEY UPDATE), and only then are its steps read, in a statement of their own: a
snapshot taken before the lock was granted would show siblings as they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from django.db import connections, transaction
from django.db.models import Model, TextField
from django.db.models.expressions import RawSQL

from . import announcing, clock, registry, seals, transactions
from .alerts import Alert
from .conf import get_settings
from .definition import SagaDefinition
from .exceptions import SagaNotFound, StaleWrite
from .fingerprints import FAILED, fingerprint
from .models import Saga, SagaAttempt, SagaHistory, SagaKey, SagaStep
from .models.fields import database_now
from .outcomes import AttemptView, Report, compute_effect
from .planner import SagaView, StepView
from .states import AbortRequest, Direction, Effect, Hold, Kind, Outcome, SagaState, StepState


class What(StrEnum):
    """Say what a history row tells."""

    SAGA_STARTED = "saga_started"
    SAGA_RUNNING = "saga_running"
    SAGA_TURNED_BACK = "saga_turned_back"
    SAGA_COMPLETED = "saga_completed"
    SAGA_COMPENSATED = "saga_compensated"
    SAGA_ABANDONED = "saga_abandoned"
    SAGA_REOPENED = "saga_reopened"
    STEP_CLAIMED = "step_claimed"
    STEP_SUCCEEDED = "step_succeeded"
    STEP_REFUSED = "step_refused"
    STEP_WAITING = "step_waiting"
    STEP_UNKNOWN = "step_unknown"
    STEP_SKIPPED = "step_skipped"
    STEP_WOKEN = "step_woken"
    COMPENSATION_CLAIMED = "compensation_claimed"
    COMPENSATION_SUCCEEDED = "compensation_succeeded"
    COMPENSATION_WAITING = "compensation_waiting"
    COMPENSATION_REOPENED = "compensation_reopened"
    LATE_ANSWER = "late_answer"
    PIVOT_PASSED = "pivot_passed"
    HELD = "held"
    HOLD_CLEARED = "hold_cleared"
    ATTENTION_RAISED = "attention_raised"
    ATTENTION_CLEARED = "attention_cleared"
    ABORT_REQUESTED = "abort_requested"
    ABORT_DROPPED = "abort_dropped"
    OPERATOR_ACTED = "operator_acted"


SAGA_COLUMNS = (
    "state", "hold", "attention", "revision", "history_count", "cause", "abort_request", "abort_actor", "abort_reason",
    "effects_left", "queue", "other_queues", "pivot_passed_at", "due_at", "rung_at", "most_attempts", "touched_at",
    "seal", "seal_count", "updated_at", "closed_at", "hook_due_at", "hook_tries",
)  # fmt: skip
STEP_COLUMNS = (
    "state", "hold", "attention", "waiting_for", "due_at", "lease_token", "lease_until", "action_attempts",
    "compensation_attempts",
    "budget_used", "budget_started_at", "epoch", "result", "is_assumed", "is_woken", "last_error", "started_at",
    "finished_at",
)  # fmt: skip
KEY_COLUMNS = ("saga_id", "name", "value")
CLOSE_COLUMNS = ("ended_at", "outcome", "effect", "settles", "error_class", "message", "traceback", "error_group")
OPEN_COLUMNS = (
    "saga_id", "step_id", "direction", "number", "epoch", "lease_token", "worker", "started_at", "deadline_at",
    "is_assumed", *CLOSE_COLUMNS,
)  # fmt: skip
HISTORY_COLUMNS = (
    "saga_id", "number", "at", "what", "step", "from_state", "to_state", "actor", "reason", "data", "seal",
)  # fmt: skip


@cache
def record_of(model: type[Model], columns: tuple[str, ...], guards: tuple[tuple[str, str], ...] = ()) -> str:
    """Return ``v(column type, ...)``: what a jsonb_to_recordset call yields, guard columns first.

    Cached: the types of a model's columns do not change while a process runs.
    """
    connection = connections[get_settings().database]
    found = {
        field.column: str(field.db_type(connection)).split(" GENERATED")[0] for field in model._meta.concrete_fields
    }
    types = [*guards, *((column, found[column].replace("serial", "int")) for column in columns)]
    return "v(" + ", ".join(f"{column} {kind}" for column, kind in types) + ")"


def as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as JSON text; times, ids and enumerations as PostgreSQL reads them."""
    return json.dumps(list(rows), default=_as_text)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Journal:
    """Hold one locked saga, its steps, and everything that one statement will write about it.

    Tx: must be created, used and written inside one transaction of the engine's database.
    """

    def __init__(self, saga: Saga, steps: list[SagaStep], now: datetime) -> None:
        self.saga = saga
        self.steps = steps
        self.now = now
        self.definition: type[SagaDefinition] | None = _find_definition(saga, steps)
        self._old_saga = (saga.revision, saga.state, saga.history_count)
        self._old_steps = {step.pk: _values_of(step, STEP_COLUMNS) for step in steps}
        self._opened: list[SagaAttempt] = []
        self._closed: dict[UUID, dict[str, Any]] = {}
        self._closed_steps: set[int] = set()
        self._history: list[dict[str, Any]] = []
        self._keys: dict[str, str] = {}
        self._raised: list[tuple[int, str, str]] = []
        self._attempts: list[SagaAttempt] | None = None

    @classmethod
    def lock(
        cls, saga_id: UUID, *, nowait: bool = False, checks_session: bool = False, checks_mark: bool = False
    ) -> Journal:
        """Lock a saga row and read its steps and the time.

        ``checks_session``: the transaction begins with it, on a connection that foreign code may have bent.
        ``checks_mark``: a local step has run in it, which may have ended it.
        Raises: SagaNotFound; ConnectionBent; TransactionEnded.
        Locks: the saga row.
        """
        using = get_settings().database
        saga = Saga.objects.using(using).select_for_update(no_key=True, nowait=nowait).filter(pk=saga_id).first()
        if saga is None:
            if checks_session:
                transactions.read_now(using)  # perhaps it is only that the tables of somebody else are found
            raise SagaNotFound(f"There is no saga {saga_id}.")
        rows: Any = SagaStep.objects.using(using).filter(saga_id=saga_id).order_by("position")
        rows = rows.annotate(db_now=database_now())
        if checks_session:
            rows = rows.annotate(session=RawSQL(transactions.SESSION_SQL, (), TextField()))  # noqa: S611 - a constant
        if checks_mark:
            rows = rows.annotate(mark=RawSQL(transactions.IS_MARKED_SQL, (), TextField()))  # noqa: S611 - a constant
        steps = list(rows)
        if checks_session:
            transactions.require_same_session(using, steps[0].session) if steps else transactions.read_now(using)
        if checks_mark and steps:
            transactions.require_marked(using, steps[0].mark)
        now = clock.shifted(steps[0].db_now) if steps else clock.read_now(using)
        return cls(saga, list[SagaStep](steps), now)

    @property
    def is_dirty(self) -> bool:
        """Tell whether anything but due times would be written."""
        return bool(self._history or self._opened or self._closed or self._changed_steps())

    def step(self, name: str) -> SagaStep:
        """Return a step row by name.

        Raises: KeyError.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def view(self) -> SagaView:
        """Return the saga as the planner sees it."""
        saga = self.saga
        return SagaView(
            state=SagaState(saga.state),
            hold=Hold(saga.hold) if saga.hold else None,
            abort_request=AbortRequest(saga.abort_request) if saga.abort_request else None,
            steps=tuple(_view_of(step) for step in self.steps),
        )

    def effects(self) -> dict[str, Effect]:
        """Return what each step has done to the world, from its attempts and what this journal adds to them."""
        by_step: dict[int, list[SagaAttempt]] = {step.pk: [] for step in self.steps}
        for attempt in self._read_attempts():
            if attempt.direction == Direction.ACTION:
                by_step[attempt.step_id].append(attempt)
        effects = {}
        for step in self.steps:
            effect = compute_effect(self._view_attempt(attempt, step) for attempt in by_step[step.pk])
            is_removed = step.state == StepState.COMPENSATED
            effects[step.name] = Effect.REMOVED if is_removed else effect
        return effects

    def attempts(self) -> list[SagaAttempt]:
        """Return the attempts of every step, in order, as stored, without messages and tracebacks."""
        return self._read_attempts()

    def attempts_of(self, step: SagaStep, direction: Direction) -> list[SagaAttempt]:
        """Return the attempts of one direction, in order, as stored."""
        return [a for a in self._read_attempts() if a.step_id == step.pk and a.direction == direction]

    def find_attempt(self, token: UUID) -> SagaAttempt | None:
        """Return the attempt of a lease token, or None."""
        return next((attempt for attempt in self._read_attempts() if attempt.lease_token == token), None)

    def decide(self) -> None:
        """Count this journal as a decision: forms drawn on the old revision become stale."""
        self.saga.revision = self._old_saga[0] + 1

    def tell(
        self,
        what: What,
        *,
        step: SagaStep | None = None,
        from_state: str = "",
        to_state: str = "",
        actor: str | None = None,
        reason: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a history row, without the secrets of its reason and data. ``actor`` None means the engine."""
        redactor = get_settings().redactor
        self.saga.history_count += 1
        if what is What.OPERATOR_ACTED:
            self.saga.touched_at = self.now
        self._history.append({
            "saga_id": self.saga.pk, "number": self.saga.history_count, "at": self.now, "what": what.value,
            "step": step.name if step else "", "from_state": from_state, "to_state": to_state, "actor": actor,
            "reason": redactor.redact_text(reason), "data": redactor.redact_data(dict(data or {})),
        })  # fmt: skip

        if what in (What.HELD, What.ATTENTION_RAISED) and actor is None:
            self._raised.append((self.saga.history_count, to_state, step.name if step else ""))

    def add_keys(self, keys: Mapping[str, str]) -> None:
        """Add business keys, without secrets; one of a name that is there already is replaced."""
        self._keys |= get_settings().redactor.redact_data(dict(keys))

    def open_attempt(self, attempt: SagaAttempt) -> None:
        """Add an attempt row."""
        self._opened.append(attempt)

    def close_attempt(
        self, step: SagaStep, token: UUID, report: Report, direction: Direction = Direction.ACTION
    ) -> None:
        """Close the attempt of a token with its outcome; a definite one is never changed again."""
        self._closed_steps.add(step.pk)
        self._closed[token] = {
            "ended_at": self.now, "outcome": report.outcome.value, "effect": report.effect.value, "settles":
            report.settles, "error_class": report.error_class, "message": report.message, "traceback": report.traceback,
            "error_group": self._find_group(step, direction, report),
        }  # fmt: skip

    def assume(self, step: SagaStep, direction: Direction, report: Report, actor: str) -> None:
        """Add an attempt row that is a person's word."""
        number = self.count_attempt(step, direction)
        self._opened.append(
            SagaAttempt(
                saga_id=self.saga.pk, step_id=step.pk, direction=direction.value, number=number, epoch=step.epoch,
                lease_token=uuid4(), worker=actor[:120], started_at=self.now, deadline_at=self.now, is_assumed=True,
                ended_at=self.now, outcome=report.outcome.value, effect=report.effect.value, settles=True,
                message=report.message,
            )
        )  # fmt: skip

    def count_attempt(self, step: SagaStep, direction: Direction) -> int:
        """Return the number of the next attempt in this direction, and take it."""
        if direction is Direction.ACTION:
            step.action_attempts += 1
            return step.action_attempts
        step.compensation_attempts += 1
        return step.compensation_attempts

    def write(self) -> None:
        """Write everything in one statement.

        Raises: StaleWrite when a guarded row had moved.
        Tx: the caller's.
        """
        saga = self.saga
        saga.updated_at = self.now
        saga.rung_at = None
        attempts = [max(step.action_attempts, step.compensation_attempts) for step in self.steps]
        saga.most_attempts = max(saga.most_attempts, *attempts, 0)
        saga.seal, saga.seal_count = seals.seal_entries(
            self._history, saga_id=saga.pk, seal=saga.seal, count=saga.seal_count
        )
        changed = self._changed_steps()
        closed = [{"token": token, **values} for token, values in self._closed.items()]
        if any(attempt.ended_at is None and attempt.step_id in self._closed_steps for attempt in self._opened):
            # One live attempt per step is a unique index, checked row by row: close first, in a statement of its own.
            self._run([("closed", *_close_sql(closed), len(closed))])
            closed = []
        parts = [("saga", *self._saga_sql(), 1)]
        if changed:
            parts.append(("steps", *self._steps_sql(changed), len(changed)))
        if closed:
            parts.append(("closed", *_close_sql(closed), len(closed)))
        if self._opened:
            parts.append(
                (
                    "opened",
                    *_insert_sql(SagaAttempt, OPEN_COLUMNS, map(_attempt_values, self._opened)),
                    len(self._opened),
                )
            )
        if self._history:
            parts.append(("told", *_insert_sql(SagaHistory, HISTORY_COLUMNS, self._history), len(self._history)))
        if self._keys:
            parts.append(("keys", *self._keys_sql(), len(self._keys)))
        self._run(parts)
        if self._raised and (alerts := list(self._list_alerts())):
            using = get_settings().database
            transaction.on_commit(lambda: announcing.announce(alerts), using=using, robust=True)

    def _list_alerts(self) -> Iterator[Alert]:
        """Return what people must be told of, without what was over before it was written."""
        saga = self.saga
        reasons = {*saga.attention, saga.hold, *(step.hold for step in self.steps)}
        for number, reason, step in self._raised:
            if reason in reasons:
                yield Alert(
                    saga_id=saga.pk, number=number, definition=saga.definition, version=saga.version, state=saga.state,
                    reason=reason, step=step, at=self.now,
                )  # fmt: skip

    def _run(self, parts: list[tuple[str, str, list[Any], int]]) -> None:
        clauses = ", ".join(f"{name} AS ({sql} RETURNING 1)" for name, sql, _, _ in parts)
        counts = ", ".join(f"(SELECT count(*) FROM {name})" for name, _, _, _ in parts)
        with connections[get_settings().database].cursor() as cursor:
            cursor.execute(f"WITH {clauses} SELECT {counts}", [value for _, _, values, _ in parts for value in values])
            found = cursor.fetchone()
        for (name, _, _, expected), count in zip(parts, found, strict=True):
            if count != expected:
                raise StaleWrite(f"Saga {self.saga.pk}: {count} of {expected} rows of {name!r} were as expected.")

    def _saga_sql(self) -> tuple[str, list[Any]]:
        revision, state, history_count = self._old_saga
        columns = ", ".join(SAGA_COLUMNS)
        values = ", ".join(f"v.{column}" for column in SAGA_COLUMNS)
        sql = (
            f"UPDATE sagas_saga AS s SET ({columns}) = ({values})"
            f" FROM jsonb_to_recordset(%s::jsonb) AS {record_of(Saga, SAGA_COLUMNS)}"
            " WHERE s.id = %s AND s.revision = %s AND s.state = %s AND s.history_count = %s"
        )
        row = _values_of(self.saga, SAGA_COLUMNS)
        return sql, [as_json([row]), self.saga.pk, revision, state, history_count]

    def _steps_sql(self, changed: list[SagaStep]) -> tuple[str, list[Any]]:
        columns = ", ".join(STEP_COLUMNS)
        values = ", ".join(f"v.{column}" for column in STEP_COLUMNS)
        guards = (("id", "bigint"), ("old_state", "text"), ("old_token", "uuid"))
        sql = (
            f"UPDATE sagas_sagastep AS s SET ({columns}) = ({values})"
            f" FROM jsonb_to_recordset(%s::jsonb) AS {record_of(SagaStep, STEP_COLUMNS, guards)}"
            " WHERE s.id = v.id AND s.state = v.old_state AND s.lease_token IS NOT DISTINCT FROM v.old_token"
        )
        rows = []
        for step in changed:
            old = self._old_steps[step.pk]
            known = {"id": step.pk, "old_state": old["state"], "old_token": old["lease_token"]}
            rows.append({**_values_of(step, STEP_COLUMNS), **known})
        return sql, [as_json(rows)]

    def _keys_sql(self) -> tuple[str, list[Any]]:
        rows = [{"saga_id": self.saga.pk, "name": name, "value": value} for name, value in self._keys.items()]
        sql, values = _insert_sql(SagaKey, KEY_COLUMNS, rows)
        return f"{sql} ON CONFLICT (saga_id, name) DO UPDATE SET value = EXCLUDED.value", values

    def _find_group(self, step: SagaStep, direction: Direction, report: Report) -> str:
        if report.outcome not in FAILED or not report.error_class:
            return ""
        return fingerprint(self.saga.definition, step.name, direction, report.error_class, report.message)

    def _changed_steps(self) -> list[SagaStep]:
        return [step for step in self.steps if _values_of(step, STEP_COLUMNS) != self._old_steps[step.pk]]

    def _read_attempts(self) -> list[SagaAttempt]:
        if self._attempts is None:
            self._attempts = list(
                SagaAttempt.objects.using(get_settings().database)
                .filter(saga_id=self.saga.pk)
                .defer("message", "traceback")
                .order_by("id")
            )
        return [*self._attempts, *self._opened]

    def _view_attempt(self, attempt: SagaAttempt, step: SagaStep) -> AttemptView:
        closed = self._closed.get(attempt.lease_token)
        outcome = closed["outcome"] if closed else attempt.outcome
        return AttemptView(
            outcome=Outcome(outcome) if outcome else None,
            effect=Effect(closed["effect"] if closed else attempt.effect),
            settles=bool(closed["settles"] if closed else attempt.settles),
            ended_at=closed["ended_at"] if closed else attempt.ended_at,
            is_last_word=attempt.is_assumed and step.kind == Kind.PIVOT,
        )


def _find_definition(saga: Saga, steps: list[SagaStep]) -> type[SagaDefinition] | None:
    """Return the definition of a saga, or None when the code does not have it or not with these steps."""
    definition = registry.find(saga.definition, saga.version)
    if definition is None or [step.name for step in steps] != [step.name for step in definition.steps]:
        return None
    return definition


def _view_of(step: SagaStep) -> StepView:
    return StepView(
        name=step.name,
        rank=step.rank,
        kind=Kind(step.kind),
        state=StepState(step.state),
        hold=Hold(step.hold) if step.hold else None,
        due_at=step.due_at,
        lease_until=step.lease_until,
    )


def _values_of(row: Any, columns: Iterable[str]) -> dict[str, Any]:
    values = {column: getattr(row, column) for column in columns}
    if isinstance(values.get("attention"), list):
        values["attention"] = list(values["attention"])
    return values


def _attempt_values(attempt: SagaAttempt) -> dict[str, Any]:
    return _values_of(attempt, OPEN_COLUMNS)


def _close_sql(rows: list[dict[str, Any]]) -> tuple[str, list[Any]]:
    columns = ", ".join(CLOSE_COLUMNS)
    values = ", ".join(f"v.{column}" for column in CLOSE_COLUMNS)
    sql = (
        f"UPDATE sagas_sagaattempt AS a SET ({columns}) = ({values})"
        f" FROM jsonb_to_recordset(%s::jsonb) AS {record_of(SagaAttempt, CLOSE_COLUMNS, (('token', 'uuid'),))}"
        " WHERE a.lease_token = v.token AND (a.outcome IS NULL OR a.outcome = 'unknown')"
    )
    return sql, [as_json(rows)]


def _insert_sql(model: Any, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> tuple[str, list[Any]]:
    names = ", ".join(columns)
    values = ", ".join(f"v.{column}" for column in columns)
    table = model._meta.db_table
    record = record_of(model, columns)
    sql = f"INSERT INTO {table} ({names}) SELECT {values} FROM jsonb_to_recordset(%s::jsonb) AS {record}"
    return sql, [as_json(rows)]
