"""Inbox: one transaction holds the proof that an event was handled, its effect, and the events that follow from it.

Stored first, retried from our rows: whatever happens to an event, it is acknowledged to the broker once its row is
committed. Back-off, holding, retries and looking then work alike on every transport.

Events of one key are handled one after the other (the row of the consumer and key is locked), in the order of their
arrival, and stop behind one that failed. Events that undo something are never held.

Source: Richardson, Microservices Patterns, "Idempotent consumer"; EventStoreDB, "parked messages".
"""

import contextlib
import json
import logging
import random
import re
import time
import traceback as tracebacks
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import Error, connections
from django.db.models import F

from ..clock import read_now, shift_seconds
from ..conf import get_settings
from ..core.survival import ends_process
from ..databases import LOCK_TIMEOUT_SQLSTATE, is_beyond_statement, is_conflict, refresh_connection, sqlstate_of
from ..exceptions import TransactionEnded, describe_error
from ..models import InboxEvent, InboxKey, InboxState
from ..transactions import (
    ConnectionAltered,
    guarded_connections,
    is_intact,
    own_transaction,
    require_kept,
    require_open,
)
from .cloudevents import Incoming
from .errors import ContractViolated, EventError, NotYet
from .handlers import Handler, Received, current
from .settings import get_event_settings

logger = logging.getLogger(__name__)

MAX_ERROR_CHARS = 2_000
MAX_TRACEBACK_CHARS = 20_000
CONFLICT_TRIES = 5
ENDS_TRANSACTION = re.compile(r"\b(?:commit|rollback|abort|end|begin|start|prepare)\b", re.IGNORECASE)
WAITING = (InboxState.RETRYING.value, InboxState.NOT_YET.value)
NOT_YET_BASE_SECONDS, NOT_YET_CAP_SECONDS = 1.0, 60.0

# The lock of the key, the row of the event and the limits of its handler, in one statement; the server keeps its plans.
# No id: the event is there already, and nothing was inserted.
RECEIVE = """
SELECT out_id, out_state, out_awaits FROM sagas_receive(
    %(consumer)s, %(source)s, %(event_id)s, %(type)s, %(version)s, %(key)s, %(sequence)s, %(correlation_id)s,
    %(causation_id)s, %(traceparent)s, %(topic)s, %(position)s, %(data)s, %(digest)s, %(recorded_at)s, %(undoes)s,
    %(timeout)s, %(shift)s
)
"""


class Result(StrEnum):
    """What became of a delivery."""

    HANDLED = "handled"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    NOT_YET = "not_yet"
    HELD = "held"
    PARKED = "parked"
    IGNORED = "ignored"


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """Event as it arrived at one consumer."""

    consumer: str
    alias: str
    """Database of the consumer."""
    event: Incoming
    loaded: Any
    """The event as its handler takes it."""
    handler: Handler
    topic: str
    position: str


class Busy(EventError):
    """The database gave up on a conflict too often; the event is neither handled nor stored."""


def handle(arrival: Arrival) -> Result:
    """Handle an event once: run its handler, or store why it did not run or failed.

    Raises: database errors when the database is away; then nothing is stored, and the delivery must not be
        acknowledged.
    Locks: the row of the consumer and key, until the end.
    Tx: must not be inside one; opens its own.
    """
    for attempt in range(CONFLICT_TRIES):
        try:
            return _handle_once(arrival)
        except Error as error:
            _raise_unless_conflict(error, arrival.alias)
        except ConnectionAltered:
            refresh_connection(arrival.alias, is_broken=True)
        _pause(attempt)
    raise Busy(f"{arrival.event.type} {arrival.event.key} met {CONFLICT_TRIES} conflicts; it comes again.")


def _handle_once(arrival: Arrival) -> Result:
    failure: BaseException | None = None
    is_begun = False
    try:
        with own_transaction(arrival.alias, durable=True):
            found = _insert(arrival)
            if found is None:
                return _note_duplicate(arrival)
            _, state, awaits = found
            if state == InboxState.HELD:
                return Result.HELD
            is_begun = True
            _run(arrival.alias, arrival.handler, arrival.loaded, _envelope(arrival, attempt=1))
            if awaits:
                wake_waiting(arrival.alias, arrival.consumer, arrival.event.key)
        return Result.HANDLED
    except BaseException as error:
        if not is_begun or ends_process(error) or _concerns_database(error):
            raise
        failure = error
    return _store_failure(arrival, failure)


def handle_due(consumer: str, alias: str, handlers: dict[str, Handler], *, should_stop: Callable[[], bool]) -> int:
    """Try stored events again that are due, in the order of their arrival.

    Returns: how many were tried.
    Raises: database errors when the database is away.
    Locks: the row of the consumer and key, for each event.
    Tx: must not be inside one; opens one for each event.
    """
    tried = 0
    for row_id, key in _list_due(consumer, alias):
        if should_stop():
            break
        if retry_row(consumer, alias, row_id, key, handlers) is not None:
            tried += 1
    return tried


def retry_row(
    consumer: str, alias: str, row_id: int, key: str, handlers: dict[str, Handler], *, must_be_due: bool = True
) -> Result | None:
    """Run the handler of a stored event again.

    Returns: what became of it; None when it is no longer to be run.
    """
    run = _begin_retry(consumer, alias, row_id, key, must_be_due)
    if run is None:
        return None
    for attempt in range(CONFLICT_TRIES):
        try:
            return _retry_once(consumer, alias, row_id, key, handlers, run)
        except Error as error:
            _raise_unless_conflict(error, alias)
        except ConnectionAltered:
            refresh_connection(alias, is_broken=True)
        _pause(attempt)
    return None


def _retry_once(
    consumer: str, alias: str, row_id: int, key: str, handlers: dict[str, Handler], run: int
) -> Result | None:
    failure: BaseException
    row: InboxEvent | None = None
    try:
        with own_transaction(alias, durable=True):
            lock = lock_key(alias, consumer, key)
            now = read_now(alias)
            row = _lock_waiting(alias, row_id, attempts=run)
            if row is None:
                return None
            handler = handlers.get(row.type)
            if handler is None:
                _park(alias, row, "Its handler is gone from the code: deploy it again, or discard the event.")
                _release(alias, lock, row, now)
                return Result.PARKED
            _set_timeouts(alias)
            row.attempts -= 1
            _run(alias, handler, handler.event.load(row.data or {}, row.version), _envelope_of(row))
            _mark_handled(alias, row, now)
            _release(alias, lock, row, now)
            if lock is not None and lock.awaits:
                wake_waiting(alias, consumer, key)
        return Result.HANDLED
    except BaseException as error:
        if ends_process(error) or _concerns_database(error) or row is None:
            raise
        failure = error
    with own_transaction(alias, durable=True):
        lock = lock_key(alias, consumer, key)
        return _record_failure(alias, lock, row, failure)


def _begin_retry(consumer: str, alias: str, row_id: int, key: str, must_be_due: bool) -> int | None:
    """Count a run before it begins, so that an event that kills the process dies, too, and stops no other.

    A run that ends well, or for which it is too early, is not counted in the end.
    Returns: the number of the run; None when there is nothing to run.
    """
    retry = get_event_settings().retry
    with own_transaction(alias, durable=True):
        lock = lock_key(alias, consumer, key)
        now = read_now(alias)
        row = _lock_waiting(alias, row_id, due_by=now if must_be_due else None)
        if row is None:
            return None
        if retry.is_spent(used=row.attempts, elapsed_seconds=0.0):
            row.state, row.due_at = InboxState.DEAD.value, None
            row.error = f"It was run {row.attempts} times; the last runs did not end: it seems to kill the process."
            row.save(using=alias)
            _become_head(alias, lock, row)
            logger.error("Event dead: its last runs did not end.", extra={"consumer": consumer, "key": key})
            return None
        row.attempts += 1
        row.due_at = now + timedelta(seconds=retry.delay_seconds(used=row.attempts))
        row.save(using=alias, update_fields=["attempts", "due_at"])
        return row.attempts


def run_again(
    consumer: str, alias: str, row: InboxEvent, handlers: dict[str, Handler], *, check: Callable[[], object],
    record: Callable[[], None],
) -> bool:  # fmt: skip
    """Run the handler of an event once more, as an operator asked, whether or not it was handled before.

    ``check`` may refuse once the event is locked; ``record`` writes down what was done, in the same transaction.
    Returns: whether it ran; False when the row changed meanwhile.
    Raises: what the handler raises; then nothing is changed.
    Locks: the row of the consumer and key, until the end.
    Tx: must not be inside one; opens its own.
    """
    with own_transaction(alias, durable=True):
        lock = lock_key(alias, consumer, row.key)
        rows = InboxEvent.objects.using(alias).select_for_update()
        found = rows.filter(pk=row.pk, state=row.state).first()
        if found is None:
            return False
        check()
        now = read_now(alias)
        _set_timeouts(alias)
        handler = handlers[found.type]
        _run(alias, handler, handler.event.load(found.data or {}, found.version), _envelope_of(found))
        _mark_handled(alias, found, now)
        _release(alias, lock, found, now)
        if lock is not None and lock.awaits:
            wake_waiting(alias, consumer, row.key)
        record()
    return True


def store_parked(
    consumer: str, alias: str, *, topic: str, position: str, reason: str, raw: bytes, event: Incoming | None,
    state: InboxState = InboxState.PARKED,
) -> Result:  # fmt: skip
    """Store an event that is not run: unreadable, unknown, without authority, or deadly.

    Tx: must not be inside one; opens its own.
    """
    text = raw.decode(errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")[:MAX_ERROR_CHARS]
    values: dict[str, Any] = {
        "source": event.source if event else "",
        "event_id": event.id if event else f"{topic}/{position}"[:200],
    }
    columns = {
        "type": event.type if event else "",
        "version": event.version if event else 1,
        "key": event.key if event else "",
        "sequence": event.sequence if event else "",
        "correlation_id": event.correlation_id if event else "",
        "causation_id": event.causation_id if event else "",
        "data": event.data if event else None,
        "digest": event.digest if event else "",
        "recorded_at": event.recorded_at if event else None,
        "raw": "" if event else text,
        "topic": topic,
        "position": position,
        "state": state.value,
        "error": redact(reason),
    }
    with own_transaction(alias, durable=True):
        lock = lock_key(alias, consumer, event.key) if event is not None and state is InboxState.DEAD else None
        now = read_now(alias)
        row, is_new = InboxEvent.objects.using(alias).get_or_create(
            consumer=consumer, **values, defaults={**columns, "received_at": now}
        )
        if not is_new:
            _count_duplicate(alias, row)
            return Result.DUPLICATE
        _become_head(alias, lock, row)
    facts = {"consumer": consumer, "event_type": row.type, "event_id": row.event_id, "topic": topic}
    logger.error("Event not run: it is stored for an operator.", extra={**facts, "reason": reason})
    return Result.PARKED


def lock_key(alias: str, consumer: str, key: str) -> InboxKey | None:
    """Lock the row of a consumer and key, created if missing; None for unordered events.

    Tx: must be inside one.
    """
    if not key:
        return None
    InboxKey.objects.using(alias).bulk_create(
        [InboxKey(consumer=consumer, key=key, used_at=read_now(alias))], ignore_conflicts=True
    )
    return InboxKey.objects.using(alias).select_for_update().get(consumer=consumer, key=key)


def wake_waiting(alias: str, consumer: str, key: str) -> None:
    """Make the events of a key due that waited for what they build on."""
    InboxEvent.objects.using(alias).filter(consumer=consumer, key=key, state=InboxState.NOT_YET.value).update(
        due_at=read_now(alias)
    )


def redact(text: str) -> str:
    """Return a text as it is stored: without secrets, cut, and without NUL."""
    return get_settings().redactor.redact_text(text).replace("\x00", "")[:MAX_ERROR_CHARS]


def release(alias: str, lock: InboxKey | None, row: InboxEvent) -> None:
    """Let the events behind a head follow, because it was handled, parked or discarded.

    Tx: must be inside one, with the key locked.
    """
    _release(alias, lock, row, read_now(alias))


def _insert(arrival: Arrival) -> tuple[int, str, bool] | None:
    event = arrival.event
    values: dict[str, Any] = {
        "consumer": arrival.consumer,
        "source": event.source,
        "event_id": event.id,
        "type": event.type,
        "version": event.version,
        "key": event.key,
        "sequence": event.sequence,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "traceparent": event.traceparent,
        "topic": arrival.topic,
        "position": arrival.position,
        "data": json.dumps(event.data),
        "digest": event.digest,
        "recorded_at": event.recorded_at,
        "undoes": arrival.handler.undoes,
        "timeout": _timeout(),
        "shift": shift_seconds(),
    }
    with connections[arrival.alias].cursor() as cursor:
        cursor.execute(RECEIVE, values)
        found: tuple[int | None, str, bool] = cursor.fetchone()
    row_id, state, awaits = found
    return None if row_id is None else (row_id, state, awaits)


def _note_duplicate(arrival: Arrival) -> Result:
    """Count a further arrival; the same id with other content is stored as an event of its own that is not run."""
    rows = InboxEvent.objects.using(arrival.alias)
    event = arrival.event
    row = rows.get(consumer=arrival.consumer, source=event.source, event_id=event.id)
    if row.digest == event.digest or not row.digest:
        _count_duplicate(arrival.alias, row)
        return Result.DUPLICATE
    other = f"{event.id[:135]}#{event.digest}"
    facts = {"consumer": arrival.consumer, "event_type": event.type, "event_id": event.id, "key": event.key}
    logger.error("Event parked: its id was used for other content.", extra=facts)
    _, is_new = rows.get_or_create(
        consumer=arrival.consumer,
        source=event.source,
        event_id=other,
        defaults={
            "type": event.type, "version": event.version, "key": event.key, "sequence": event.sequence,
            "correlation_id": event.correlation_id, "causation_id": event.causation_id, "topic": arrival.topic,
            "position": arrival.position, "data": event.data, "digest": event.digest,
            "recorded_at": event.recorded_at, "received_at": read_now(arrival.alias),
            "state": InboxState.PARKED.value,
            "error": f"Another event with the id {event.id} and other content came first; this one was not run.",
        },
    )  # fmt: skip
    return Result.PARKED if is_new else Result.DUPLICATE


def _count_duplicate(alias: str, row: InboxEvent) -> None:
    InboxEvent.objects.using(alias).filter(pk=row.pk).update(duplicates=F("duplicates") + 1)


def _run(alias: str, handler: Handler, event: Any, received: Received) -> None:
    """Call a handler with its event; what it publishes names this event as its cause.

    Raises: TransactionEnded when it ended the transaction that holds the row of the inbox, and so lost that; EventError
        when the database that is away is not this one.
    """
    token = current.set(received)
    try:
        with _statements_of(alias) as seen, guarded_connections():
            handler(event, received)
        require_open(alias)
        if any(ENDS_TRANSACTION.search(statement) for statement in seen):
            require_kept(alias)
    except Exception as error:
        if connections[alias].closed_in_transaction:
            raise TransactionEnded(f"{handler.name} closed the connection of its transaction.") from error
        if is_beyond_statement(error) and is_intact(alias):
            raise EventError(f"Another database that {handler.name} uses is away: {error}") from error
        raise
    finally:
        current.reset(token)


@contextmanager
def _statements_of(alias: str) -> Iterator[list[str]]:
    """List the statements of a handler, because to read them is cheaper than to ask the server after each event."""
    seen: list[str] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql if isinstance(sql, str) else str(sql))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(note):
        yield seen


def _store_failure(arrival: Arrival, failure: BaseException) -> Result:
    """Store an event whose handler failed; its effect is rolled back already."""
    with own_transaction(arrival.alias, durable=True):
        found = _insert(arrival)
        if found is None:
            return _note_commit(arrival, failure) if isinstance(failure, TransactionEnded) else _note_duplicate(arrival)
        row = InboxEvent.objects.using(arrival.alias).get(pk=found[0])
        if row.state == InboxState.HELD:
            return Result.HELD
        lock = lock_key(arrival.alias, arrival.consumer, arrival.event.key)
        return _record_failure(arrival.alias, lock, row, failure)


def _note_commit(arrival: Arrival, failure: TransactionEnded) -> Result:
    """Have an operator decide about an event whose handler committed by itself, and perhaps only a part."""
    event = arrival.event
    lock = lock_key(arrival.alias, arrival.consumer, event.key)
    row = InboxEvent.objects.using(arrival.alias).get(consumer=arrival.consumer, source=event.source, event_id=event.id)
    row.state, row.handled_at, row.attempts = InboxState.DEAD.value, None, row.attempts + 1
    row.error_class, row.error = type(failure).__name__, redact(describe_error(failure))
    row.save(using=arrival.alias)
    _become_head(arrival.alias, lock, row)
    logger.error("Event dead: its handler ended the transaction.", extra={"consumer": row.consumer, "key": row.key})
    return Result.FAILED


def _record_failure(alias: str, lock: InboxKey | None, row: InboxEvent, failure: BaseException) -> Result:
    """Record a failed run: not yet, parked, retrying with a back-off, or dead.

    Tx: must be inside one, with the key locked.
    """
    now = read_now(alias)
    facts = {"consumer": row.consumer, "event_type": row.type, "event_id": row.event_id, "key": row.key}
    row.error_class, row.error = type(failure).__name__[:200], redact(describe_error(failure))
    row.handled_at = None
    if isinstance(failure, NotYet):
        waited = max(0.0, (now - row.received_at).total_seconds())
        row.state, row.traceback = InboxState.NOT_YET.value, ""
        row.due_at = now + timedelta(seconds=min(max(NOT_YET_BASE_SECONDS, waited), NOT_YET_CAP_SECONDS))
        row.save(using=alias)
        _release(alias, lock, row, now)  # as a head it would hold what it waits for
        if lock is not None and not lock.awaits:
            InboxKey.objects.using(alias).filter(pk=lock.pk).update(awaits=True)
        return Result.NOT_YET
    if isinstance(failure, ContractViolated):
        row.state, row.traceback, row.due_at = InboxState.PARKED.value, "", None
        row.attempts += 1
        row.save(using=alias)
        _release(alias, lock, row, now)
        logger.error("Event parked: its sender must not send it now.", extra={**facts, "error": row.error})
        return Result.PARKED
    retry = get_event_settings().retry
    row.attempts += 1
    elapsed = (now - row.received_at).total_seconds()
    is_over = retry.is_spent(used=row.attempts, elapsed_seconds=elapsed)
    row.state = (InboxState.DEAD if is_over else InboxState.RETRYING).value
    row.due_at = None if is_over else now + timedelta(seconds=retry.delay_seconds(used=row.attempts))
    row.traceback = _format_traceback(failure)
    row.save(using=alias)
    _become_head(alias, lock, row)
    if is_over:
        logger.error("Event dead: its handler failed too often.", extra={**facts, "error": row.error})
    else:
        logger.warning("Handler failed; the event is tried again.", extra={**facts, "error": row.error})
    return Result.FAILED


def _become_head(alias: str, lock: InboxKey | None, row: InboxEvent) -> None:
    """Hold later events of the key behind this one, unless they wait behind an earlier one already."""
    if lock is not None and lock.head_id is None:
        InboxKey.objects.using(alias).filter(pk=lock.pk).update(head=row)


def _release(alias: str, lock: InboxKey | None, row: InboxEvent, now: datetime) -> None:
    """Let the next held event of the key become its head, due at once."""
    if lock is None or lock.head_id != row.pk:
        return
    rows = InboxEvent.objects.using(alias).filter(consumer=row.consumer, key=row.key)
    waiting = [InboxState.HELD.value, InboxState.RETRYING.value, InboxState.DEAD.value]
    follower = rows.filter(state__in=waiting).exclude(pk=row.pk).order_by("id").first()
    InboxKey.objects.using(alias).filter(pk=lock.pk).update(head=follower)
    if follower is not None and follower.state == InboxState.HELD:
        rows.filter(pk=follower.pk).update(state=InboxState.RETRYING.value, due_at=now)


def _list_due(consumer: str, alias: str) -> list[tuple[int, str]]:
    rows = InboxEvent.objects.using(alias).filter(consumer=consumer, state__in=WAITING, due_at__lte=read_now(alias))
    return list(rows.order_by("due_at", "id").values_list("pk", "key")[: get_event_settings().relay_batch])


def _lock_waiting(
    alias: str, row_id: int, *, due_by: datetime | None = None, attempts: int | None = None
) -> InboxEvent | None:
    rows = InboxEvent.objects.using(alias).select_for_update().filter(pk=row_id, state__in=WAITING)
    if due_by is not None:
        rows = rows.filter(due_at__lte=due_by)
    return (rows if attempts is None else rows.filter(attempts=attempts)).first()


def _mark_handled(alias: str, row: InboxEvent, now: datetime) -> None:
    InboxEvent.objects.using(alias).filter(pk=row.pk).update(
        state=InboxState.HANDLED.value, handled_at=now, due_at=None, traceback="", attempts=row.attempts
    )


def _park(alias: str, row: InboxEvent, reason: str) -> None:
    InboxEvent.objects.using(alias).filter(pk=row.pk).update(state=InboxState.PARKED.value, due_at=None, error=reason)


def _envelope(arrival: Arrival, *, attempt: int) -> Received:
    event = arrival.event
    return Received(
        id=event.id,
        type=event.type,
        source=event.source,
        key=event.key,
        consumer=arrival.consumer,
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        traceparent=event.traceparent,
        recorded_at=event.recorded_at,
        attempt=attempt,
    )


def _envelope_of(row: InboxEvent) -> Received:
    return Received(
        id=row.event_id,
        type=row.type,
        source=row.source,
        key=row.key,
        consumer=row.consumer,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        traceparent=row.traceparent,
        recorded_at=row.recorded_at,
        attempt=row.attempts + 1,
    )


def _timeout() -> str:
    return str(max(1, int(get_event_settings().handler_timeout.total_seconds() * 1000)))


def _set_timeouts(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),"
            " set_config('sagas.local_step', 'open', true)",
            [_timeout(), _timeout()],
        )


def _concerns_database(error: BaseException) -> bool:
    """Return whether an error is a conflict or an outage: it says nothing about the handler."""
    return isinstance(error, ConnectionAltered) or is_conflict(error) or is_beyond_statement(error)


def _raise_unless_conflict(error: Error, alias: str) -> None:
    refresh_connection(alias, is_broken=is_beyond_statement(error))
    if not is_conflict(error) and sqlstate_of(error) != LOCK_TIMEOUT_SQLSTATE:
        raise error


def _format_traceback(error: BaseException) -> str:
    with contextlib.suppress(Exception):
        lines = "".join(tracebacks.format_exception(error))[-MAX_TRACEBACK_CHARS:]
        return get_settings().redactor.redact_text(lines).replace("\x00", "")
    return ""


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0.0, 0.02 * 2**attempt))  # noqa: S311 - jitter
