"""Operators' actions on events: retry a stored failure, replay an event, discard it. Each is recorded for good.

Permissions are checked by ``sagas.operators.event_operations``, which knows the accounts.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.db import Error

from ..clock import read_now
from ..core.survival import ends_process
from ..exceptions import BadRequest, OperationRefused, describe_error
from ..models import EventOperation, InboxEvent, InboxKey, InboxState, OutboxEvent, OutboxState
from ..transactions import own_transaction
from . import catalogue, inbox
from .cloudevents import Incoming, read_own_id
from .consumer import ParticipantConsumer
from .errors import EventError, EventRefused
from .settings import get_event_settings

MAX_ACTOR_CHARS, MAX_RESULT_CHARS = 200, 2_000
RETRIED = frozenset({InboxState.RETRYING, InboxState.NOT_YET, InboxState.DEAD})
DISCARDED = frozenset({*RETRIED, InboxState.HELD, InboxState.PARKED})
REPLAYED = frozenset({InboxState.HANDLED, InboxState.DEAD, InboxState.PARKED, InboxState.DISCARDED})


class EventNotFound(EventError):
    """No outbox or inbox has this event."""


class EventChanged(OperationRefused):
    """An event is in another state than the decision was based on, or another operator was faster."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What an operator wants, about which event."""

    event_id: str
    """CloudEvents id."""
    actor: str
    """Who; kept with the event's operations."""
    reason: str
    """Why; kept with the event's operations."""
    consumer: str = ""
    """App label of one consumer; empty: all."""
    source: str = ""
    """CloudEvents source, where two senders used the same id."""
    is_trial: bool = False
    """Whether only the checks are made."""
    version: str = ""
    """``OperationResult.version`` that the decision was based on; empty: any."""


@dataclass(frozen=True, kw_only=True)
class OperationResult:
    """What an operation did, or would do."""

    operation: str
    event_id: str
    source: str
    type: str
    key: str
    consumer: str
    state_before: str
    state: str
    message: str
    is_trial: bool
    version: str
    """State before, and the last operation before; for ``Order.version``."""
    is_repeat: bool = False
    """Whether nothing was done, because the same operator had done it before."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


class _AlreadyDone(Exception):
    """The second half of a double click."""

    def __init__(self, result: OperationResult) -> None:
        super().__init__(result.message)
        self.result = result


def retry_event(order: Order) -> OperationResult:
    """Make a stored failure due at once, with a fresh budget: its consumer runs the handler again.

    Raises: EventNotFound, OperationRefused, BadRequest; EventChanged if the order's version is not the present one.
    Locks: the row of the consumer and key. Tx: opens its own.
    """
    return _perform_once(_retry, order)


def discard_event(order: Order) -> OperationResult:
    """Give an event up for one consumer, and let those that wait behind it follow.

    Raises: EventNotFound, OperationRefused, BadRequest; EventChanged if the order's version is not the present one.
    Locks: the row of the consumer and key. Tx: opens its own.
    """
    return _perform_once(_discard, order)


def replay_event(order: Order) -> OperationResult:
    """Send an event again under its id, or run one consumer's handler again on the body in its inbox.

    A consumer that has the event ignores it when it is sent again. A handler that is run again is guarded by its own
    state only; if it fails, its effect is rolled back and the event stays as it was.
    Raises: EventNotFound, OperationRefused, BadRequest; EventChanged if the order's version is not the present one.
    Locks: the row of the consumer and key. Tx: must not be inside one; opens its own.
    """
    return _perform_once(_run_again if order.consumer else _send_again, order)


def _perform_once(perform: Callable[[Order], OperationResult], order: Order) -> OperationResult:
    try:
        return perform(order)
    except _AlreadyDone as done:
        return done.result


def _retry(order: Order) -> OperationResult:
    alias = _open(order)
    with own_transaction(alias):
        row, _ = _take_inbox(alias, order)
        version = _require_version(alias, order, "retry", row)
        _require_state(row, RETRIED, "retry", "Retry or discard the failed event that it waits behind, or replay it.")
        if not order.is_trial:
            _write(alias, row, state=InboxState.RETRYING.value, due_at=read_now(alias), attempts=0)
        return _record(alias, order, "retry", row, InboxState.RETRYING, f"{_name(row)} is due now.", version)


def _discard(order: Order) -> OperationResult:
    alias = _open(order)
    with own_transaction(alias):
        row, lock = _take_inbox(alias, order)
        version = _require_version(alias, order, "discard", row)
        _require_state(row, DISCARDED, "discard", "Only what was not handled can be discarded.")
        if not order.is_trial:
            _write(alias, row, state=InboxState.DISCARDED.value, due_at=None)
            inbox.release(alias, lock, row)
        message = f"{_name(row)} is given up; those behind it follow."
        return _record(alias, order, "discard", row, InboxState.DISCARDED, message, version)


def _send_again(order: Order) -> OperationResult:
    _check(order)
    for alias in catalogue.event_databases():
        with own_transaction(alias):
            row = _take_outbox(alias, order)
            if row is None:
                continue
            version = _require_version(alias, order, "replay", row)
            now = read_now(alias)
            if row.state == OutboxState.UNSENT:
                raise OperationRefused(f"{_name(row)} is unsent already; the relay sends it.")
            if row.recorded_at < now - get_event_settings().retention:
                raise OperationRefused(
                    f"{_name(row)} is older than SAGAS['EVENTS']['RETENTION']: consumers may have forgotten that they"
                    " handled it. Replay it for one consumer."
                )
            before = row.state
            if not order.is_trial:
                row.state, row.due_at, row.attempts, row.settled_at = OutboxState.UNSENT.value, now, 0, None
                row.save(using=alias, update_fields=["state", "due_at", "attempts", "settled_at"])
            message = f"{_name(row)} is sent again under its id; whoever has it ignores it."
            return _record(alias, order, "replay", row, OutboxState.UNSENT, message, version, before=before)
    raise EventNotFound(
        f"No outbox here has an event {order.event_id!r}. event_list --key lists events; an event of a foreign service"
        " can only be replayed for one consumer."
    )


def _run_again(order: Order) -> OperationResult:
    alias = _open(order)
    row = _find_inbox(alias, order)
    version = _require_version(alias, order, "replay", row)
    _require_state(row, REPLAYED, "replay", "It is tried again anyway; event_retry makes it due now.")
    try:
        _require_runnable(row)
    except EventRefused as error:
        raise OperationRefused(f"{_name(row)} cannot be run: {error}") from error
    if order.is_trial:
        message = f"The handler of {order.consumer} would run on the body of {_name(row)}; its guards decide."
        return _record(alias, order, "replay", row, InboxState.HANDLED, message, version)
    done: list[OperationResult] = []

    def record() -> None:
        message = f"The handler ran again on {_name(row)}."
        done.append(_record(alias, order, "replay", row, InboxState.HANDLED, message, version))

    try:
        is_run = inbox.run_again(
            order.consumer, alias, row, catalogue.handlers_of(order.consumer),
            check=lambda: _require_version(alias, order, "replay", row), record=record,
        )  # fmt: skip
    except (EventChanged, _AlreadyDone):
        raise
    except BaseException as error:
        if ends_process(error) or isinstance(error, Error):
            raise
        why = inbox.redact(describe_error(error))
        _record(alias, order, "replay", row, InboxState(row.state), f"failed: {why}", version)
        raise OperationRefused(f"The handler failed, and {_name(row)} stays {row.state}: {why}") from error
    if not is_run:
        raise OperationRefused(f"{_name(row)} changed meanwhile; see event_list, and try again.")
    return done[0]


def _open(order: Order) -> str:
    """Return the database of the order's consumer, once the order is checked."""
    _check(order)
    if order.consumer not in catalogue.list_consumers():
        known = ", ".join(catalogue.list_consumers()) or "none"
        raise BadRequest(f"{order.consumer!r} handles no event; consumers: {known}.")
    return catalogue.database_of(order.consumer)


def _check(order: Order) -> None:
    if not get_event_settings().are_on:
        raise OperationRefused("Events are off. Set SAGAS['EVENTS']['URL'] to the broker's URL.")
    if not order.actor.strip() or not order.reason.strip():
        raise BadRequest("An operation on an event needs an actor and a reason.")


def _find_inbox(alias: str, order: Order) -> InboxEvent:
    rows = InboxEvent.objects.using(alias).filter(consumer=order.consumer, event_id=order.event_id)
    found = list((rows.filter(source=order.source) if order.source else rows).order_by("id")[:2])
    if not found:
        raise EventNotFound(f"The inbox of {order.consumer} has no event {order.event_id!r}. event_list lists them.")
    if len(found) > 1:
        raise BadRequest(f"Several senders used the id {order.event_id!r}: name one by its source.")
    return found[0]


def _take_inbox(alias: str, order: Order) -> tuple[InboxEvent, InboxKey | None]:
    """Return the row and the lock of its key, locked in the order of consumers; a trial locks and writes nothing."""
    row = _find_inbox(alias, order)
    if order.is_trial:
        return row, None
    lock = inbox.lock_key(alias, order.consumer, row.key)
    return InboxEvent.objects.using(alias).select_for_update().get(pk=row.pk), lock


def _take_outbox(alias: str, order: Order) -> OutboxEvent | None:
    event_id = read_own_id(order.event_id)
    if event_id is None:
        return None
    rows = OutboxEvent.objects.using(alias).filter(participant__in=catalogue.list_local_senders())
    return (rows if order.is_trial else rows.select_for_update()).filter(event_id=event_id).first()


def _require_state(row: InboxEvent, states: frozenset[InboxState], what: str, todo: str) -> None:
    if InboxState(row.state) not in states:
        state = row.state.replace("_", " ")
        raise OperationRefused(f"{_name(row)} is {state} with {row.consumer}, so {what} is not possible. {todo}")


def _require_version(alias: str, order: Order, operation: str, row: InboxEvent | OutboxEvent) -> str:
    """Return the present version of an event, which must be that of the order, if it has one.

    Raises: EventChanged; _AlreadyDone if the same operator did the same since then.
    """
    rows = EventOperation.objects.using(alias).filter(event_id=str(row.event_id), source=row.source)
    last = rows.filter(consumer=order.consumer).order_by("-id").first()
    version = f"{row.state}-{last.pk if last else 0}"
    if order.version in ("", version):
        return version
    if last is not None and (last.operation, last.actor) == (operation, order.actor[:MAX_ACTOR_CHARS]):
        result = _describe(order, operation, row, row.state, f"Already done, and only once: {last.result}", version)
        raise _AlreadyDone(replace(result, is_repeat=True))
    state, who = row.state.replace("_", " "), f" after {last.actor}'s {last.operation}" if last else ""
    raise EventChanged(f"{_name(row)} has changed since the plan was made: it is {state} now{who}. Check it again.")


def _require_runnable(row: InboxEvent) -> None:
    """Check an event as its consumer does at its arrival.

    Raises: EventRefused.
    """
    if row.data is None:
        raise EventRefused("its message could not be read. Discard it.")
    event = Incoming(
        id=row.event_id, source=row.source, type=row.type, version=row.version, key=row.key, sequence=row.sequence,
        correlation_id=row.correlation_id, causation_id=row.causation_id, traceparent=row.traceparent,
        recorded_at=row.recorded_at, data=row.data, digest=row.digest,
    )  # fmt: skip
    consumer = ParticipantConsumer(row.consumer, instance="", should_stop=lambda: True)
    if consumer.require_handler(event) is None:
        raise EventRefused(f"{row.consumer} has no handler of {row.type}.")


def _write(alias: str, row: InboxEvent, **values: Any) -> None:
    InboxEvent.objects.using(alias).filter(pk=row.pk).update(**values)


def _record(
    alias: str,
    order: Order,
    operation: str,
    row: InboxEvent | OutboxEvent,
    state: InboxState | OutboxState,
    message: str,
    version: str,
    *,
    before: str = "",
) -> OperationResult:
    """Write down who did it and why, in the transaction of the change; return the result."""
    result = replace(_describe(order, operation, row, state.value, message, version), state_before=before or row.state)
    if not order.is_trial:
        EventOperation.objects.using(alias).create(
            at=read_now(alias), actor=order.actor[:MAX_ACTOR_CHARS], operation=operation,
            reason=inbox.redact(order.reason.strip()), consumer=order.consumer, source=row.source,
            event_id=result.event_id, type=row.type, key=row.key, state_before=result.state_before,
            result=message[:MAX_RESULT_CHARS],
        )  # fmt: skip
    return result


def _describe(
    order: Order, operation: str, row: InboxEvent | OutboxEvent, state: str, message: str, version: str
) -> OperationResult:
    return OperationResult(
        operation=operation,
        event_id=str(row.event_id),
        source=row.source,
        type=row.type,
        key=row.key,
        consumer=order.consumer,
        state_before=row.state,
        state=state,
        message=message,
        is_trial=order.is_trial,
        version=version,
    )


def _name(row: InboxEvent | OutboxEvent) -> str:
    return f"{row.type or 'Event'} {row.event_id}" + (f" of {row.key}" if row.key else "")
