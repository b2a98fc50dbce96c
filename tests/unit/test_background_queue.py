"""Background queue: never blocks the caller, loses nothing it accepted, and survives errors."""

import threading

import pytest

from sagas.core.background_queue import BackgroundQueue

PATIENCE_SECONDS = 20


class Handler:
    """Handler that records every item, and fails on demand."""

    def __init__(self, errors: list[BaseException | None] | None = None, *, capacity: int = 10) -> None:
        self.handled: list[str] = []
        self.room: list[bool] = []
        self.has_rested = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_busy = threading.Event()
        self._errors = errors or []
        self.queue: BackgroundQueue[str] = BackgroundQueue(
            self._handle, on_error=self._repeat, thread_name="test-queue", capacity=lambda: capacity, on_idle=self._rest
        )

    def _handle(self, item: str) -> None:
        self.is_busy.set()
        assert self.may_go_on.wait(PATIENCE_SECONDS)
        self.handled.append(item)
        if self._errors and (error := self._errors.pop(0)):
            raise error

    def _repeat(self, item: str, _error: BaseException, may_repeat: bool) -> tuple[str, float] | None:
        self.room.append(may_repeat)
        return (f"{item} again", 0.0) if may_repeat else None

    def _rest(self) -> None:
        self.has_rested.set()


def test_items_are_handled_in_order_in_one_thread_and_flushed() -> None:
    handler = Handler()
    assert not handler.queue.has_thread

    assert [handler.queue.put(item) for item in "abc"] == [True] * 3
    handler.queue.flush(PATIENCE_SECONDS)

    assert handler.handled == ["a", "b", "c"]
    assert handler.queue.has_thread
    assert handler.queue.count() == 0


def test_full_queue_refuses_items_and_flush_times_out() -> None:
    handler = Handler(capacity=2)
    handler.may_go_on.clear()
    assert handler.queue.put("a")
    assert handler.is_busy.wait(PATIENCE_SECONDS)

    assert [handler.queue.put(item) for item in "bcd"] == [True, True, False]
    handler.queue.flush(0.01)

    assert handler.queue.count() == 2
    assert handler.queue.busy_seconds > 0
    handler.may_go_on.set()
    handler.queue.flush(PATIENCE_SECONDS)
    assert handler.handled == ["a", "b", "c"]


@pytest.mark.parametrize("error", [ValueError(), SystemExit(1), GeneratorExit(), KeyboardInterrupt()], ids=repr)
def test_thread_survives_errors_and_retries_failed_items(error: BaseException) -> None:
    handler = Handler([error])
    handler.queue.put("a")
    handler.queue.flush(PATIENCE_SECONDS)
    assert handler.queue.put("b")
    handler.queue.flush(PATIENCE_SECONDS)

    assert handler.handled == ["a", "a again", "b"]
    assert handler.room == [True]
    assert not handler.queue.has_failed


def test_handler_learns_that_there_is_no_room_for_a_retry() -> None:
    handler = Handler([ValueError()], capacity=0)  # no room for a retry; unbounded for items
    handler.queue.put("a")
    handler.queue.flush(PATIENCE_SECONDS)

    assert handler.room == [False]
    assert handler.queue.has_failed
    assert handler.handled == ["a"]


def test_forgotten_queue_is_empty_and_has_no_thread() -> None:
    handler = Handler()
    handler.may_go_on.clear()
    handler.queue.put("a")
    assert handler.is_busy.wait(PATIENCE_SECONDS)
    handler.queue.put("b")

    handler.queue.forget()

    assert not handler.queue.has_thread
    assert handler.queue.count() == 0
    handler.may_go_on.set()


def test_rest_callback_runs_when_the_queue_is_empty() -> None:
    handler = Handler()
    handler.queue.put("a")

    assert handler.has_rested.wait(PATIENCE_SECONDS)
    assert handler.handled == ["a"]
