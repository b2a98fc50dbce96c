"""Put messages into the broker that no honest sender would."""

from __future__ import annotations

import base64
import json
import pickle
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
    """One message as it lies in the broker.

    name: for a failing test. body: its bytes or text. task: what it says it is for; None: it says nothing at all.
    queue: where it lies.
    """

    name: str
    body: str | bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    task: str | None = TASK
    headers: dict[str, Any] = field(default_factory=dict)
    queue: str = QUEUE


class WriteFile:
    """Write a file when it is unpickled, as an attacker's object runs his code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "unpickled")


def ring(*arguments: Any, name: str = "", queue: str = QUEUE, **keywords: Any) -> Message:
    """Make a message in the form that Celery sends."""
    return Message(name=name or str(arguments), body=json.dumps([arguments, keywords, {}]), queue=queue)


def list_junk(canary: Path) -> Iterator[Message]:
    """Yield messages of wrong senders, types and forms.

    canary: the file that exists if one of them was unpickled.
    """
    yield ring(str(uuid4()), name="unknown saga")
    for strange in ("", "x", "0" * 5_000, "'; DROP TABLE sagas_saga; --", "\x00", "\ud800", "{}", "ORD-1", "../../etc"):
        yield ring(strange, name=f"id {strange[:20]!r}")
    for strange in (None, 1, -1, 1.5, True, [], {}, [str(uuid4())], {"saga_id": str(uuid4())}):
        yield ring(strange, name=f"id {strange!r}")
    yield ring(name="no argument")
    yield ring(str(uuid4()), str(uuid4()), name="two arguments")
    yield ring(name="a wrong keyword", saga=str(uuid4()))
    yield ring(name="the right keyword", saga_id=str(uuid4()))
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


def publish(broker_url: str, messages: list[Message]) -> None:
    """Put the messages into their queues, in this order."""
    with Connection(broker_url, transport_options={"global_keyprefix": "sagas:"}) as connection:
        producer = connection.Producer()
        for message in messages:
            queue = Queue(message.queue, Exchange(message.queue, type="direct"), routing_key=message.queue)
            task = {"task": message.task, "lang": "py", "root_id": None, "argsrepr": "", "kwargsrepr": ""}
            identity = str(uuid4())
            headers = {**task, "id": identity, **message.headers} if message.task else message.headers
            producer.publish(
                message.body,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers=headers,
                correlation_id=identity,
                exchange=queue.exchange,
                routing_key=message.queue,
                declare=[queue],
            )
