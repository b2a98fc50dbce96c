"""Delivery of events to the participants that handle them, as a consumer does it, without a broker."""

import json
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ... import clock
from ...conf import get_settings
from ...events import catalogue, inbox
from ...events.cloudevents import Message, make_source, to_message
from ...events.consumer import ParticipantConsumer
from ...events.declaration import EventType, type_of
from ...events.outbox import dump_data
from ...events.settings import get_event_settings
from ...events.transports.base import Delivery
from ...models import InboxEvent, InboxState, OutboxEvent
from .outboxes import require_events

WAITING = (InboxState.RETRYING.value, InboxState.NOT_YET.value)


def deliver(
    event: Any, *, times: int = 1, consumer: str = "", correlation_id: str = "", must_be_handled: bool = True
) -> list[InboxEvent]:
    """Deliver an event to every participant that handles it, as if its sender had published it.

    Everything is as with a broker: authority, schema, duplicates, order of a key, events that are not yet handled.
    ``times``: how often the same event arrives. ``consumer``: app label of the only participant that gets it.
    ``must_be_handled``: whether a participant that fails, holds or parks it fails the test.
    Returns: its row in the inbox of each participant.
    Raises: AssertionError when no participant handles it, or one did not although it must; ImproperlyConfigured when
        events are off; DefinitionError when the class is no declared event; EventRefused when its data do not fit.
    """
    require_events()
    declared = type_of(type(event))
    delivery = as_delivery(to_row(declared, event, correlation_id))
    rows = []
    for label in find_receivers(declared, consumer):
        for _ in range(times):
            receive(label, delivery)
        rows.append(_find_row(label, delivery.message))
    if must_be_handled:
        _require_handled(rows)
    return rows


def drain_inbox(patience: timedelta = timedelta(hours=2)) -> None:
    """Try stored events again, as time would, until all are handled, dead, or wait for an event that never came.

    The engine's clock is moved to their due times, at most ``patience`` ahead, and restored at the end.
    Raises: ImproperlyConfigured when events are off.
    """
    require_events()
    consumers = [_make_consumer(label) for label in catalogue.list_local_consumers()]
    with clock.restored():
        ends_at = clock.read_now(get_settings().database) + patience
        before: list[tuple[Any, ...]] = []
        while (waiting := _list_waiting(consumers)) != before:
            before = waiting
            due = [due_at for *_, due_at in _list_due_times(consumers) if due_at <= ends_at]
            ahead = max(due, default=ends_at - patience) - clock.read_now(get_settings().database)
            clock.move(max(ahead, timedelta()))
            for one in consumers:
                inbox.handle_due(one.consumer, one.alias, one.handlers, should_stop=lambda: False)


def to_row(declared: EventType, event: Any, correlation_id: str = "") -> OutboxEvent:
    """Return the row that the sender's outbox would have; it is not saved.

    Raises: EventRefused when the data do not fit the schema or are too large.
    """
    settings, sender, key = get_event_settings(), catalogue.sender_of(declared), declared.key_of(event)
    event_id = uuid.uuid4()
    return OutboxEvent(
        event_id=event_id,
        participant=sender,
        type=declared.name,
        version=declared.version,
        source=make_source(settings.source, sender, key),
        key=key,
        correlation_id=correlation_id or str(event_id),
        topic=catalogue.topic_of(declared),
        data=json.loads(dump_data(declared, event, settings.data_max_bytes)),
        recorded_at=clock.read_now(get_settings().database),
    )


def as_delivery(row: OutboxEvent) -> Delivery:
    """Return a row of an outbox as a broker would deliver it."""
    return Delivery(topic=row.topic, position=str(row.event_id), message=to_message(row), deliveries=1, handle=None)


def find_receivers(declared: EventType, consumer: str = "") -> Sequence[str]:
    """Return the participants here that handle an event: all, or the given one.

    Raises: AssertionError when there are none.
    """
    found = catalogue.consumers_of_type(declared.name)
    if consumer and consumer not in found:
        raise AssertionError(
            f"{consumer} does not handle {declared.name} here; {', '.join(found) or 'no participant'} does."
        )
    if not found:
        raise AssertionError(
            f"No participant handles {declared.name}: write @on({declared.schema.__name__}) in <app>/handlers.py of an"
            " installed app, and name that app in SAGAS['EVENTS']['PARTICIPANTS'] if this is set."
        )
    return [consumer] if consumer else found


def receive(consumer: str, delivery: Delivery) -> None:
    """Let one participant handle a delivery, and the stored events that it makes due."""
    one = _make_consumer(consumer)
    one.handle(delivery)
    inbox.handle_due(consumer, one.alias, one.handlers, should_stop=lambda: False)


def _make_consumer(label: str) -> ParticipantConsumer:
    return ParticipantConsumer(label, instance="test", should_stop=lambda: False)


def _find_row(consumer: str, message: Message) -> InboxEvent:
    rows = InboxEvent.objects.using(catalogue.database_of(consumer))
    attributes = message.attributes
    return rows.get(consumer=consumer, source=attributes["source"], event_id=attributes["id"])


def _require_handled(rows: Sequence[InboxEvent]) -> None:
    """Check that an event was handled by all that got it.

    Raises: AssertionError, with the handler's traceback.
    """
    unhandled = [row for row in rows if row.state != InboxState.HANDLED.value]
    if unhandled:
        raise AssertionError("\n".join(_describe(row) for row in unhandled))


def _describe(row: InboxEvent) -> str:
    what = f"{row.consumer} did not handle {row.type} {row.key}".rstrip()
    if row.state == InboxState.NOT_YET.value:
        return f"{what}: {row.error}. Deliver first what it builds on, or pass must_be_handled=False."
    if row.state == InboxState.HELD.value:
        return f"{what}: it is held behind an earlier event of its key that failed. Handle or discard that one first."
    if row.state == InboxState.PARKED.value:
        return f"{what}: it is parked. {row.error}"
    return f"{what}: {row.error}\n{row.traceback}".rstrip()


def _list_waiting(consumers: Sequence[ParticipantConsumer]) -> list[tuple[Any, ...]]:
    """Return what shows whether a round changed anything: events that are not yet handled spend no attempt."""
    return [(pk, state, attempts) for pk, state, attempts, _ in _list_due_times(consumers)]


def _list_due_times(consumers: Sequence[ParticipantConsumer]) -> list[tuple[Any, ...]]:
    return [
        found
        for one in consumers
        for found in InboxEvent.objects.using(one.alias)
        .filter(consumer=one.consumer, state__in=WAITING)
        .order_by("id")
        .values_list("pk", "state", "attempts", "due_at")
    ]
