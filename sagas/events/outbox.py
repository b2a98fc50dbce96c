"""Transactional outbox: ``publish`` writes an event in the transaction of the data that it is about.

Source: Richardson, Microservices Patterns, "Transactional outbox".
"""

import json
import uuid
from typing import Any

from django.db import connections, transaction

from .. import clock
from ..core.json_values import require_storable
from ..exceptions import InputRefused
from ..models import events as columns
from . import catalogue, schema, waking
from .cloudevents import make_source
from .declaration import EventType, type_of
from .errors import EventRefused
from .handlers import current
from .settings import get_event_settings

# One statement: the row of the source stays locked until the commit, so that a lower number never commits later.
PUBLISH_ORDERED = """
WITH stream AS (
    INSERT INTO sagas_eventstream (source, last_sequence, used_at)
    VALUES (%(source)s, 1, clock_timestamp() + make_interval(secs => %(shift)s))
    ON CONFLICT (source) DO UPDATE
    SET last_sequence = sagas_eventstream.last_sequence + 1,
        used_at = clock_timestamp() + make_interval(secs => %(shift)s) -- once the row is locked, not before
    RETURNING last_sequence, used_at
)
INSERT INTO sagas_outboxevent (
    event_id, participant, type, version, source, sequence, key, correlation_id, causation_id, traceparent, topic,
    data, recorded_at, state, due_at, attempts, error, resends
)
SELECT
    %(event_id)s::uuid, %(participant)s, %(type)s, %(version)s, %(source)s, last_sequence, %(key)s, %(correlation_id)s,
    %(causation_id)s, %(traceparent)s, %(topic)s, %(data)s::jsonb, used_at, 'unsent', used_at, 0, '', 0
FROM stream
"""
PUBLISH_UNORDERED = """
INSERT INTO sagas_outboxevent (
    event_id, participant, type, version, source, sequence, key, correlation_id, causation_id, traceparent, topic,
    data, recorded_at, state, due_at, attempts, error, resends
)
SELECT
    %(event_id)s::uuid, %(participant)s, %(type)s, %(version)s, %(source)s, NULL, '', %(correlation_id)s,
    %(causation_id)s, %(traceparent)s, %(topic)s, %(data)s::jsonb, now.moment, 'unsent', now.moment, 0, '', 0
FROM (SELECT clock_timestamp() + make_interval(secs => %(shift)s) AS moment) AS now
"""


def publish(
    event: Any, *, using: str = "", correlation_id: str = "", causation_id: str = "", traceparent: str = ""
) -> uuid.UUID:
    """Write an event into the outbox of its sender, in the current transaction; a relay sends it after the commit.

    ``using``: the database alias, by default that of the sender's app. ``correlation_id``: the id of the whole flow;
    inside a handler it is that of the handled event, else by default a new one. ``causation_id`` and ``traceparent``
    are also taken from the handled event.
    Returns: the id of the event.
    Raises: EventRefused when events are off, the connection is in no transaction, or the data cannot be stored or are
        too large; DefinitionError when the class is no declared event.
    Locks: the stream row of the source, until the commit: after the participant's rows in the order of locks.
    Tx: must be inside one of ``using``.
    """
    declared = type_of(type(event))
    settings = get_event_settings()
    if not settings.are_on:
        raise EventRefused(
            f"{declared.name} is not published: events are off. Set SAGAS['EVENTS']['URL'] to the broker's URL."
        )
    participant = catalogue.sender_of(declared)
    alias = using or catalogue.database_of(participant)
    connection = connections[alias]
    if not connection.in_atomic_block:
        raise EventRefused(
            f"{declared.name} must be published in the transaction of the data that it is about, but the connection"
            f" {alias!r} is in none: call publish inside transaction.atomic(using={alias!r})."
        )
    cause, event_id = current.get(), uuid.uuid4()
    key = _read_key(declared, event)
    values: dict[str, Any] = {
        "event_id": event_id,
        "participant": participant,
        "type": declared.name,
        "version": declared.version,
        "source": make_source(settings.source, participant, key),
        "key": key,
        "correlation_id": _short(correlation_id or (cause.correlation_id if cause else "") or str(event_id)),
        "causation_id": _short(causation_id or (cause.id if cause else "")),
        "traceparent": (traceparent or (cause.traceparent if cause else ""))[:64],
        "topic": catalogue.topic_of(declared),
        "data": dump_data(declared, event, settings.data_max_bytes),
        "shift": clock.shift_seconds(),
    }
    with connection.cursor() as cursor:
        cursor.execute(PUBLISH_ORDERED if key else PUBLISH_UNORDERED, values)
    transaction.on_commit(lambda: waking.wake_relay(alias), using=alias, robust=True)
    return event_id


def dump_data(declared: EventType, event: Any, max_bytes: int) -> str:
    """Return the data of an event as JSON text.

    Raises: EventRefused when they are not what the schema says, cannot be stored, or are too large.
    """
    data = schema.dump(event)
    try:
        require_storable(data, f"The data of {declared.name}", max_bytes)
    except InputRefused as error:
        raise EventRefused(str(error)) from error
    schema.load(declared.schema, data)
    return json.dumps(data, ensure_ascii=False)


def _read_key(declared: EventType, event: Any) -> str:
    if not declared.key:
        return ""
    key = declared.key_of(event)
    if not key or len(key) > columns.MAX_KEY_CHARS:
        raise EventRefused(
            f"The key {declared.key!r} of {declared.name} must have 1 to {columns.MAX_KEY_CHARS} characters."
        )
    return key


def _short(text: str) -> str:
    if len(text) > columns.MAX_ID_CHARS:
        raise EventRefused(f"The id {text[:40]!r}... has more than {columns.MAX_ID_CHARS} characters.")
    return text
