"""Throughput and latency of events over Redis, beside a bare loop of the same client in prepared SQL.

Both only consume, and the same stream: what was published through the outbox and sent by the relay. For each message
the bare loop reads and parses the same fields and body, inserts the same row (a table with the columns and indexes of
the inbox), makes the same effect and commits; like the consumer it acknowledges what it read together.

It leaves out what the rules of the inbox are for: the row that locks a key and keeps its order, time-outs, the look for
an earlier failure of the key, checks of attributes, schema, sender and of the connection before and after a handler,
the envelope, stored failures, and Django. The ratio is what all that costs. On a server that waits for its disk at each
commit that is little; `make bench-events` takes one that does not, unless DATABASE_URL names another.
"""

import hashlib
import json
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.db import connection, transaction
from django.test import override_settings

from sagas.events import consumer, event, on, publish, relay
from sagas.events.inbox import Result
from sagas.events.settings import get_event_settings

NAME = "benchmarks"
LATENCIES = 50
PATIENCE_SECONDS = 60.0
CREATE_TABLES = """
CREATE TABLE benchmarks_effect (id bigserial PRIMARY KEY, key text UNIQUE);
CREATE TABLE benchmarks_inbox (LIKE sagas_inboxevent INCLUDING ALL);
"""
DROP_TABLES = "DROP TABLE IF EXISTS benchmarks_effect, benchmarks_inbox"
INSERT_EFFECT = "INSERT INTO benchmarks_effect (key) VALUES (%s)"
INSERT_INBOX = """
INSERT INTO benchmarks_inbox (
    consumer, source, event_id, type, version, key, sequence, correlation_id, causation_id, traceparent, topic,
    position, data, raw, digest, recorded_at, received_at, state, handled_at, attempts, duplicates, error_class, error,
    traceback
)
VALUES (
    %(consumer)s, %(source)s, %(id)s, %(type)s, %(schemaversion)s::int, %(partitionkey)s, %(sequence)s,
    %(correlationid)s, '', '', %(topic)s, %(position)s, %(data)s::jsonb, '', %(digest)s, %(recordedtime)s::timestamptz,
    clock_timestamp(), 'handled', clock_timestamp(), 0, 0, '', '', ''
)
ON CONFLICT (consumer, source, event_id) DO NOTHING
"""


@event("Benchmarked", key="order_id", sender=NAME, flow=NAME)
class Benchmarked:
    """What is sent."""

    order_id: str


@on(Benchmarked, consumer=NAME)
def note(benchmarked: Benchmarked) -> None:
    """Make the effect."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT_EFFECT, [benchmarked.order_id])


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured."""

    bare: float
    """Messages per second of the bare loop."""
    handled: float
    """Events per second of a consumer."""
    latency: float
    """Median seconds from publish to effect while nothing else happens."""


def measure(url: str, *, count: int, rounds: int) -> Figures:
    """Measure in turn, and return the best of each loop."""
    with connection.cursor() as cursor:
        cursor.execute(DROP_TABLES + ";" + CREATE_TABLES)
    try:
        with _events_over(url, on_commit=False):
            pairs = [_measure_round(url, count) for _ in range(rounds)]
        with _events_over(url, on_commit=True):
            latency = _measure_latency()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(DROP_TABLES)
    return Figures(bare=max(one for one, _ in pairs), handled=max(one for _, one in pairs), latency=latency)


@contextmanager
def _events_over(url: str, *, on_commit: bool) -> Iterator[None]:
    events = {
        "URL": url, "RELAY_ON_COMMIT": on_commit, "PREFIX": f"{uuid.uuid4()}.", "PARTICIPANTS": [NAME],
        "SEND_TIMEOUT": timedelta(seconds=10),
    }  # fmt: skip
    with override_settings(SAGAS={**settings.SAGAS, "EVENTS": events}):
        yield


def _measure_round(url: str, count: int) -> tuple[float, float]:
    """Return the messages per second of the bare loop and of a consumer on the same messages."""
    for _ in range(count):
        _publish(str(uuid.uuid4()))
    relay.relay_all("default")
    bare = _measure_bare(url, count)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE benchmarks_effect")
    return bare, _measure_handled(count)


def _measure_bare(url: str, count: int) -> float:
    client: Any = redis.Redis.from_url(url)
    stream, group = f"{get_event_settings().prefix}{NAME}", f"bare-{uuid.uuid4()}"
    client.xgroup_create(stream, group, id=_last_handled(client, stream))
    parameters = connection.get_connection_params()
    own: dict[str, Any] = {"prepare_threshold": 0, "cursor_factory": psycopg.Cursor, "context": None}
    with psycopg.connect(**{**parameters, **own}) as raw:
        begin, left = time.perf_counter(), count
        while left:
            [[_, entries]] = client.xreadgroup(group, NAME, {stream: ">"}, count=consumer.BATCH)
            for entry, fields in entries:
                _handle_bare(raw, entry, fields)
            client.xack(stream, group, *(entry for entry, _ in entries))
            left -= len(entries)
        return count / (time.perf_counter() - begin)


def _last_handled(client: Any, stream: str) -> Any:
    """Return the last message that the consumer was given in an earlier round."""
    groups = {one["name"]: one["last-delivered-id"] for one in client.xinfo_groups(stream)}
    return groups.get(NAME.encode(), "0")


def _handle_bare(raw: psycopg.Connection[Any], entry: bytes, fields: dict[bytes, bytes]) -> None:
    read = {name.decode(): value.decode() for name, value in fields.items()}
    key = json.loads(read["data"])["orderId"]
    digest = hashlib.sha256(fields[b"data"]).hexdigest()
    values = {**read, "consumer": NAME, "topic": NAME, "position": entry.decode(), "digest": digest}
    raw.execute(INSERT_INBOX, values)
    raw.execute(INSERT_EFFECT, [key])
    raw.commit()


def _measure_handled(count: int) -> float:
    runner = consumer.ParticipantConsumer(NAME, instance="benchmark", should_stop=lambda: runner.tally.total >= count)
    begin = time.perf_counter()
    runner.run()
    seconds = time.perf_counter() - begin
    if runner.tally.counts != {Result.HANDLED: count}:
        raise RuntimeError(f"Not all of {count} events were handled: {runner.tally.counts}.")
    return count / seconds


def _measure_latency() -> float:
    stop, found = threading.Event(), []
    running = threading.Thread(
        target=consumer.consume, args=([NAME],), kwargs={"instance": "benchmark", "should_stop": stop.is_set}
    )
    running.start()
    try:
        for _ in range(LATENCIES):
            key, begin = str(uuid.uuid4()), time.perf_counter()
            _publish(key)
            _wait_for_effect(key)
            found.append(time.perf_counter() - begin)
            time.sleep(0.1)
    finally:
        stop.set()
        running.join()
    return statistics.median(found)


def _publish(key: str) -> None:
    with transaction.atomic():
        publish(Benchmarked(order_id=key))


def _wait_for_effect(key: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    with connection.cursor() as cursor:
        while time.monotonic() < end:
            cursor.execute("SELECT 1 FROM benchmarks_effect WHERE key = %s", [key])
            if cursor.fetchone():
                return
            time.sleep(0.002)
    raise RuntimeError(f"{key} was not handled within {PATIENCE_SECONDS:.0f} seconds.")
