"""Malformed and malicious messages for the broker."""

import base64
import json
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu import Connection, Exchange, Queue

QUEUE = "sagas"
TASK = "sagas.advance"


@dataclass(frozen=True, kw_only=True)
class Message:
    """Message as stored in the broker.

    name: for a failing test. body: its bytes or text. task: the task it names; None: no task header.
    queue: its queue. without: missing headers that Celery always sends. properties: more of the
    message's own, such as ``reply_to``. compression: what kombu packs the body with.
    """

    name: str
    body: str | bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    task: str | None = TASK
    headers: dict[str, Any] = field(default_factory=dict)
    queue: str = QUEUE
    without: tuple[str, ...] = ()
    properties: dict[str, Any] = field(default_factory=dict)
    compression: str | None = None


class WriteFile:
    """Object that writes a file when unpickled, as an attacker's would run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "unpickled")


def send(*arguments: Any, name: str = "", queue: str = QUEUE, **keywords: Any) -> Message:
    """Build a message in Celery's format."""
    return Message(name=name or str(arguments), body=json.dumps([arguments, keywords, {}]), queue=queue)


def list_junk(canary: Path) -> Iterator[Message]:
    """Yield messages of wrong senders, types and formats.

    canary: the file created if one of them was unpickled.
    """
    yield send(str(uuid4()), name="unknown saga")
    for strange in ("", "x", "0" * 5_000, "'; DROP TABLE sagas_saga; --", "\x00", "\ud800", "{}", "ORD-1", "../../etc"):
        yield send(strange, name=f"id {strange[:20]!r}")
    for strange in (None, 1, -1, 1.5, True, [], {}, [str(uuid4())], {"saga_id": str(uuid4())}):
        yield send(strange, name=f"id {strange!r}")
    yield send(name="no argument")
    yield send(str(uuid4()), str(uuid4()), name="two arguments")
    yield send(name="a wrong keyword", saga=str(uuid4()))
    yield send(name="the right keyword", saga_id=str(uuid4()))
    bodies = ("", "null", "5", "[]", "[[]]", "{}", '"text"', "[1, 2, 3]", "{not json", "[[], {}, {}, {}]", "[" * 2_000)
    yield from (Message(name=f"body {body[:20]!r}", body=body) for body in bodies)
    yield Message(name="not UTF-8", body=b"\xff\xfe\xfa")
    yield Message(name="other task", task="orders.refund", body=json.dumps([[], {}, {}]))
    yield Message(name="task of Celery's own", task="celery.backend_cleanup", body=json.dumps([[], {}, {}]))
    yield Message(name="no task", task=None, body=json.dumps({"hello": "world"}))
    yield Message(name="expired", body=json.dumps([[str(uuid4())], {}, {}]), headers={"expires": "2001-01-01T00:00:00"})
    yield Message(name="malformed expiry", body=json.dumps([[str(uuid4())], {}, {}]), headers={"expires": "soon"})
    pickled = pickle.dumps([[WriteFile(canary)], {}, {}])
    for content_type in ("application/x-python-serialize", "application/json"):
        yield Message(
            name=f"pickle as {content_type}", body=pickled, content_type=content_type, content_encoding="binary"
        )
    yield Message(
        name="pickle in base64",
        body=base64.b64encode(pickled),
        content_type="application/x-python-serialize",
        content_encoding="utf-8",
    )
    yield Message(name="YAML", body="!!python/object/apply:os.getpid []", content_type="application/x-yaml")
    yield Message(name="unknown type", body="<saga/>", content_type="application/xml")


# The parts that Celery (5.7) and kombu read before the task runs.
HEADERS = (
    "task", "id", "root_id", "parent_id", "group", "group_index", "shadow", "eta", "expires", "retries", "timelimit",
    "argsrepr", "kwargsrepr", "origin", "lang", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps",
    "compression", "headers", "utc", "meth", "sagas_queue", "sagas_served",
)  # fmt: skip
PROPERTIES = ("reply_to", "correlation_id")
BAD_VALUES: dict[str, Any] = {
    "list": ["x", "y"],
    "mapping": {"a": {"b": [1]}},
    "nested": [[[[[{"x": [None]}]]]]],
    "negative": -1,
    "huge": 10**30,
    "fraction": 1.5,
    "NaN": float("nan"),
    "infinite": float("inf"),
    "true": True,
    "text": "x",
    "NUL": "a\x00b",
    "surrogate": "\ud800",
    "long": "x" * 100_000,
    "empty list": [],
    "pair of numbers": [1e-9, 1e-9],
    "pair of infinities": [float("inf"), float("-inf")],
    "year 9999": "9999-12-31T23:59:59+00:00",
}
BOMB_BYTES = 64 * 1024 * 1024


def list_malformed(saga_id: str, *, names: tuple[str, ...] = HEADERS) -> Iterator[Message]:
    """Yield wake-ups with one wrong or unknown header, property, body or option each."""
    body = json.dumps([[saga_id], {}, {}])
    for name in names:
        for kind, value in BAD_VALUES.items():
            yield Message(name=f"header {name} {kind}", body=body, headers={name: value})
        yield Message(name=f"header {name} missing", body=body, without=(name,))
    for name in PROPERTIES:
        for kind, value in BAD_VALUES.items():
            yield Message(name=f"property {name} {kind}", body=body, properties={name: value})
    for kind, value in BAD_VALUES.items():
        for option in ("callbacks", "errbacks", "chain", "chord", "id", "timelimit"):
            yield Message(name=f"option {option} {kind}", body=json.dumps([[saga_id], {}, {option: value}]))
        # Protocol 1 keeps everything in the body; the hybrid has the task in its headers too.
        old = {"task": TASK, "id": str(uuid4()), "args": [saga_id], "kwargs": {}}
        for name in ("task", "id", "args", "kwargs", "timelimit", "expires", "eta", "retries", "callbacks", "taskset"):
            for task in (None, TASK):
                wrong = json.dumps({**old, name: value})
                yield Message(name=f"protocol 1 {name} {kind}", body=wrong, task=task, without=("id",))
    for content_type in ("application/data", "application/text", "x", "application/JSON"):
        for encoding in ("zlib_codec", "rot13", "utf-16", "no-such", "binary"):
            yield Message(
                name=f"{content_type} {encoding}",
                body=body.encode(),
                content_type=content_type,
                content_encoding=encoding,
            )
    yield from list_bombs()
    yield Message(name="other task without id", task="orders.refund", body="[[], {}, {}]", without=("id",))


def list_bombs() -> Iterator[Message]:
    """Yield small messages that decompress to a large size, by kombu or a named codec."""
    zeros = b"0" * BOMB_BYTES
    for method in ("gzip", "bzip2", "lzma"):
        yield Message(name=f"bomb in {method}", body=zeros, compression=method)
    packed = zlib.compress(zeros)
    for content_type in ("application/data", "application/json"):
        yield Message(
            name=f"bomb in a codec as {content_type}",
            body=packed,
            content_type=content_type,
            content_encoding="zlib_codec",
        )


def publish(broker_url: str, messages: list[Message]) -> None:
    """Put the messages into their queues, in order."""
    with Connection(broker_url, transport_options={"global_keyprefix": "sagas:"}) as connection:
        producer = connection.Producer()
        for message in messages:
            queue = Queue(message.queue, Exchange(message.queue, type="direct"), routing_key=message.queue)
            task = {"task": message.task, "lang": "py", "root_id": None, "argsrepr": "", "kwargsrepr": ""}
            identity = str(uuid4())
            headers = {**task, "id": identity, **message.headers} if message.task else message.headers
            for name in message.without:
                headers.pop(name, None)
            producer.publish(
                message.body,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers=headers,
                compression=message.compression,
                **{"correlation_id": identity, **message.properties},
                exchange=queue.exchange,
                routing_key=message.queue,
                declare=[queue],
            )
