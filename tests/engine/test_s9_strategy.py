"""S9: malformed messages are dropped with one log line, task errors propagate, stray wake-ups do not circulate."""

import json
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from celery.worker import strategy as celery_strategy
from kombu import Message, Queue

from sagas import tasks
from sagas.worker import celery_strategy as strategy
from sagas.worker import consuming

TASK = "sagas.advance"


class RecordingMessage(Message):
    """Message that records whether it was acknowledged."""

    def __init__(self, headers: Any = None, body: Any = None) -> None:
        super().__init__(
            body=json.dumps([[str(uuid4())], {}, {}]) if body is None else body,
            headers={"task": TASK, "id": str(uuid4()), **(headers or {})},
            content_type="application/json",
            content_encoding="utf-8",
            channel=SimpleNamespace(no_ack_consumers=None, basic_ack=lambda *_, **__: None),
            delivery_tag="tag",
        )


def consumer() -> Any:
    """Stand-in for Celery's consumer."""
    queues = [Queue("sagas"), Queue("long-name", alias="short")]
    return SimpleNamespace(
        connection_errors=(ConnectionError,),
        task_consumer=SimpleNamespace(queues=queues),
        call_soon=lambda work, *arguments: work(*arguments),
        strategies={TASK: None},
    )


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Message], list[Message]]:
    """Handle a message, and return what reached Celery's own strategy."""
    taken: list[Message] = []
    monkeypatch.setattr(celery_strategy, "default", lambda *_, **__: lambda message, *_: taken.append(message))
    handler = strategy.take_carefully(tasks.advance, current_app, consumer())

    def handle(message: Message) -> list[Message]:
        taken.clear()
        handler(message, None, lambda *_: None, lambda *_: None, [])
        return taken

    return handle


def test_s9_a_malformed_message_is_acknowledged_with_one_line(
    handle: Callable[[Message], list[Message]], caplog: pytest.LogCaptureFixture
) -> None:
    message = RecordingMessage({"timelimit": ["x", "y"]})
    with caplog.at_level(logging.WARNING):
        assert handle(message) == []

    assert message.acknowledged
    assert caplog.messages == [
        "Malformed message for sagas.advance dropped: its header 'timelimit' is an invalid list."
    ]


def test_s9_celery_receives_a_rebuilt_message(handle: Callable[[Message], list[Message]]) -> None:
    message = RecordingMessage({"expires": "2001-01-01T00:00:00", "update": 5})

    [clean] = handle(message)

    assert not message.acknowledged
    assert clean.payload == json.loads(message.body)
    assert (clean.headers["expires"], clean.headers["timelimit"], "update" in clean.headers) == (
        None, [None, None], False,
    )  # fmt: skip
    assert clean.headers["sagas_served"] == ["long-name", "sagas", "short"]


@pytest.mark.parametrize("error", [TypeError("of a step"), ValueError("of a step"), KeyError("of a step")])
def test_s9_an_error_of_the_task_is_not_treated_as_a_malformed_message(
    monkeypatch: pytest.MonkeyPatch, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def execute(*_: Any) -> None:
        raise error

    monkeypatch.setattr(celery_strategy, "default", lambda *_, **__: execute)
    handler = strategy.take_carefully(tasks.advance, current_app, consumer())

    with pytest.raises(type(error), match="of a step"):
        handler(RecordingMessage(), None, lambda *_: None, lambda *_: None, [])
    assert "alformed" not in caplog.text


def test_s9_a_wakeup_of_an_unserved_queue_is_not_executed(
    handle: Callable[[Message], list[Message]], caplog: pytest.LogCaptureFixture
) -> None:
    strays = [RecordingMessage({"sagas_queue": "slow"}) for _ in range(3)]
    with caplog.at_level(logging.WARNING):
        assert [handle(stray) for stray in strays] == [[], [], []]

    assert all(stray.acknowledged for stray in strays)
    assert len(caplog.messages) == 1  # with a wrong route there are many
    assert caplog.messages[0].startswith("Wake-up for queue 'slow' dropped: a worker of long-name, sagas, short")
    assert len(handle(RecordingMessage({"sagas_queue": "short"}))) == 1


def test_s9_while_reconnecting_the_configured_queues_count() -> None:
    between = consumer()
    between.task_consumer = None
    between.app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from={"a": Queue("a")})))

    assert strategy.list_consumed(between) == ["a"]


def test_s9_a_wakeup_names_its_queue_and_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}
    monkeypatch.setattr("celery.Task.apply_async", lambda _self, _args, _kwargs, **options: sent.update(options))
    monkeypatch.setattr(tasks.advance, "serializer", "pickle")  # as task_annotations for "*" would do

    tasks.advance.apply_async(args=[str(uuid4())], queue="slow", headers={"traceparent": "x"})

    assert sent == {"queue": "slow", "headers": {"traceparent": "x", "sagas_queue": "slow"}, "serializer": "json"}


@pytest.mark.parametrize(
    ("headers", "body", "fault"),
    [
        ({"task": ["x"]}, None, "its task is a list"),
        ({"task": None}, None, "its task is a NoneType"),
        ({"task": "unknown", "id": None}, None, "it has no id, and its task is unknown"),
        ({"task": "\x00", "id": "x"}, None, "it has no id, and its task is unknown"),
        ({"task": "unknown", "id": "x"}, None, ""),
        ({"task": TASK, "id": None}, None, ""),
        (None, '{"task": ["x"]}', "its task is a list"),
        (None, '{"task": "unknown"}', "it has no id, and its task is unknown"),
        (None, '{"hello": "world"}', ""),
        (None, "{not json", ""),
        (None, "[]", ""),
    ],
)
def test_s9_unknown_tasks_are_seen_before_celery_looks_them_up(headers: Any, body: Any, fault: str) -> None:
    message = RecordingMessage(body=body)
    message.headers = {} if headers is None else headers

    assert consuming.find_fault(message, {TASK: None}) == fault
