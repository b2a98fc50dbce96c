"""Throughput and latency of events over Redis, beside a bare loop of the same client in prepared SQL.

The bare loop makes the same effect, row of the inbox and commit for each message, so the ratio is what the rules of the
inbox cost. On a server that waits for its disk at each commit that is little; `make bench-events` takes one that does
not, unless DATABASE_URL names another.
"""

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
    position, data, raw, digest, received_at, state, handled_at, attempts, duplicates, error_class, error, traceback
)
VALUES (
    'benchmarks', '/' || %(key)s::text, %(id)s, 'Benchmarked', 1, %(key)s, '', %(id)s, '', '', 'benchmarks',
    %(position)s, %(data)s, '', '', clock_timestamp(), 'handled', clock_timestamp(), 0, 0, '', '', ''
)
ON CONFLICT DO NOTHING
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
            pairs = [(_measure_bare(url, count), _measure_handled(count)) for _ in range(rounds)]
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


def _measure_bare(url: str, count: int) -> float:
    client: Any = redis.Redis.from_url(url)
    stream = f"bare-{uuid.uuid4()}"
    client.xgroup_create(stream, NAME, id="0", mkstream=True)
    for _ in range(count):
        key = str(uuid.uuid4())
        client.xadd(stream, {"id": key, "key": key, "data": json.dumps({"orderId": key})})
    parameters = connection.get_connection_params()
    own: dict[str, Any] = {"prepare_threshold": 0, "cursor_factory": psycopg.Cursor, "context": None}
    with psycopg.connect(**{**parameters, **own}) as raw:
        begin, left = time.perf_counter(), count
        while left:
            [[_, entries]] = client.xreadgroup(NAME, "bare", {stream: ">"}, count=100)
            for entry, fields in entries:
                read = {name.decode(): value.decode() for name, value in fields.items()}
                json.loads(read["data"])
                raw.execute(INSERT_INBOX, {**read, "position": entry.decode()})
                raw.execute(INSERT_EFFECT, [read["key"]])
                raw.commit()
            client.xack(stream, NAME, *(entry for entry, _ in entries))
            left -= len(entries)
        return count / (time.perf_counter() - begin)


def _measure_handled(count: int) -> float:
    for _ in range(count):
        _publish(str(uuid.uuid4()))
    relay.relay_all("default")
    runner = consumer.ParticipantConsumer(NAME, instance="benchmark", should_stop=lambda: False)
    begin = time.perf_counter()
    runner.run(once=True)
    seconds = time.perf_counter() - begin
    if runner.tally.total != count:
        raise RuntimeError(f"{runner.tally.total} of {count} events arrived.")
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
