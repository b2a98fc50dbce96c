"""S9: sending wake-ups never blocks, never raises, and survives forks, whatever the broker does."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery, current_app
from kombu import Connection

from sagas import tasks
from sagas.engine.notify import wakeup_sending
from sagas.engine.notify.wakeup_sending import _Sender
from sagas.models.saga import new_saga_id

from .side_by_side import PATIENCE_SECONDS, run_side_by_side


class FrozenBroker:
    """Broker that accepts connections and never answers."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.accepted = threading.Event()
        self.clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"redis://127.0.0.1:{self.server.getsockname()[1]}/0"

    def close(self) -> None:
        """Disconnect every waiting client."""
        self.server.close()
        for client in self.clients:
            client.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            self.clients.append(client)
            self.accepted.set()


@pytest.fixture
def frozen_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FrozenBroker]:
    """Send through a broker that accepts connections and never answers."""
    broker = FrozenBroker()
    real = tasks.advance.apply_async

    def publish(**options: Any) -> None:
        with Connection(broker.url, transport_options={"socket_timeout": PATIENCE_SECONDS}) as connection:
            real(**options, connection=connection)

    monkeypatch.setattr(tasks.advance, "apply_async", publish)
    yield broker
    broker.close()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the messages that would be published."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks.advance, "apply_async", lambda **options: messages.append(options))
    return messages


def test_s9_a_frozen_broker_does_not_block_the_sender(frozen_broker: FrozenBroker) -> None:
    bell = _Sender()
    bell.put((uuid4(), "sagas"))
    assert frozen_broker.accepted.wait(PATIENCE_SECONDS)

    def wakeup_often() -> int:
        for _ in range(200):
            bell.put((uuid4(), "sagas"))
        return 200

    assert run_side_by_side([wakeup_often] * 4) == [200] * 4
    assert bell.queue.count() == 800
    bell.flush(0.05)  # gives up in time
    assert bell.queue.count() == 800


def test_s9_a_full_queue_drops_wakeups_and_warns_once(
    frozen_broker: FrozenBroker, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SAGAS = {**settings.SAGAS, "WAKEUP_CAPACITY": 5}
    bell = _Sender()
    bell.put((uuid4(), "sagas"))
    assert frozen_broker.accepted.wait(PATIENCE_SECONDS)  # the sender thread already took the first one
    with caplog.at_level(logging.WARNING, "sagas.engine.notify.wakeup_sending"):
        for _ in range(50):
            bell.put((uuid4(), "sagas"))
    assert bell.queue.count() == 5
    assert len(caplog.records) == 1


def test_s9_a_wakeup_contains_only_saga_and_queue(published: list[dict[str, Any]]) -> None:
    bell, saga_id = _Sender(), uuid4()
    bell.put((saga_id, "slow"))
    bell.flush(PATIENCE_SECONDS)
    assert published == [{"args": [str(saga_id)], "queue": "slow", "retry": False, "ignore_result": True}]


def test_s9_a_refusing_broker_loses_only_that_wakeup(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def publish(**options: Any) -> None:
        seen.append(options["args"][0])
        if len(seen) < 3:
            raise ConnectionError("refused")

    monkeypatch.setattr(tasks.advance, "apply_async", publish)
    bell, ids = _Sender(), [uuid4() for _ in range(4)]
    for saga_id in ids:
        bell.put((saga_id, "sagas"))
    bell.flush(PATIENCE_SECONDS)
    assert seen == [str(saga_id) for saga_id in ids]


@pytest.mark.parametrize(
    "path",
    ["no.module", "sagas.engine.notify.wakeup_sending.no_such", "sagas", "", "sagas.engine.notify.wakeup_sending.Wake"],
)
def test_s9_a_broken_wakeup_function_never_raises(settings: Any, path: str) -> None:
    settings.SAGAS = {"WAKEUP": path}
    assert wakeup_sending.send(uuid4()) is None


def test_s9_the_configured_wakeup_function_is_called(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[tuple[UUID, str]] = []
    monkeypatch.setattr(wakeup_sending, "send_by_celery", lambda saga_id, queue: woken.append((saga_id, queue)))
    monkeypatch.setattr(wakeup_sending, "_found", {})
    saga_id = uuid4()
    settings.SAGAS = {"WAKEUP": "none"}
    wakeup_sending.send(saga_id)
    settings.SAGAS = {"DEFAULT_QUEUE": "mine"}
    wakeup_sending.send(saga_id)
    wakeup_sending.send(saga_id, "slow")
    assert woken == [(saga_id, "mine"), (saga_id, "slow")]


def test_s9_without_a_queue_setting_wakeups_go_to_the_default_queue(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(wakeup_sending, "send_by_celery", lambda _saga_id, queue: woken.append(queue))
    monkeypatch.setattr(wakeup_sending, "_found", {})
    settings.SAGAS = {}
    before = current_app._get_current_object()
    app = Celery("somebody_s")  # creating an app makes it the current one
    try:
        wakeup_sending.send(uuid4())
        app.conf.task_default_queue = "theirs"
        wakeup_sending.send(uuid4())
    finally:
        before.set_current()
    wakeup_sending.send(uuid4())
    assert woken == ["celery", "theirs", current_app.conf.task_default_queue]


def in_child(work: Callable[[], bytes]) -> bytes:
    """Return the output of a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


def test_s9_a_forked_child_gets_its_own_sender(published: list[dict[str, Any]]) -> None:
    wakeup_sending.send_by_celery(uuid4(), "sagas")
    assert wakeup_sending._sender.queue.has_thread

    def wake_in_child() -> bytes:
        is_new = not wakeup_sending._sender.queue.has_thread
        saga_id = uuid4()
        published.clear()
        wakeup_sending.send_by_celery(saga_id, "sagas")
        wakeup_sending._sender.flush(PATIENCE_SECONDS)
        return b"%d %d" % (is_new, len([m for m in published if m["args"] == [str(saga_id)]]))

    assert in_child(wake_in_child) == b"1 1"
    assert wakeup_sending._sender.queue.has_thread


@pytest.mark.parametrize("saga_id", ["", "x", "1", None, 5, ["a"], {"a": 1}, "\x00", "0" * 5000])
def test_s9_a_message_with_a_malformed_id_is_ignored(saga_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(tasks.engine, "advance", lambda *arguments, **_: looked.append(arguments))
    tasks.advance(saga_id)
    assert looked == []


def test_s9_a_message_advances_the_saga_in_the_name_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(tasks.engine, "advance", lambda saga_id, **options: looked.append((saga_id, options)))
    saga_id = new_saga_id()
    tasks.advance(str(saga_id))
    [(found, options)] = looked
    assert found == saga_id
    assert options["worker"].endswith(f":{os.getpid()}")
    assert options["should_stop"]() is False
    assert isinstance(options["queues"], frozenset)
