"""A queue that is handled in the background waits for nobody, loses nothing that it took, and ends of no error."""

import threading

import pytest

from sagas.engine.notify.background_queue import BackgroundQueue

PATIENCE_SECONDS = 20


class Handler:
    """What a queue calls: it notes every item, and fails on the tries that a test wants."""

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


def test_a_full_queue_refuses_and_flush_gives_up_in_time() -> None:
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
def test_no_error_ends_the_thread_and_what_failed_is_handled_again(error: BaseException) -> None:
    handler = Handler([error])
    handler.queue.put("a")
    handler.queue.flush(PATIENCE_SECONDS)
    assert handler.queue.put("b")
    handler.queue.flush(PATIENCE_SECONDS)

    assert handler.handled == ["a", "a again", "b"]
    assert handler.room == [True]
    assert not handler.queue.has_failed


def test_without_room_for_a_repeat_it_is_said() -> None:
    handler = Handler([ValueError()], capacity=0)  # none for a repeat; without a bound for items
    handler.queue.put("a")
    handler.queue.flush(PATIENCE_SECONDS)

    assert handler.room == [False]
    assert handler.queue.has_failed
    assert handler.handled == ["a"]


def test_a_queue_that_was_left_to_another_process_begins_anew() -> None:
    handler = Handler()
    handler.may_go_on.clear()
    handler.queue.put("a")
    assert handler.is_busy.wait(PATIENCE_SECONDS)
    handler.queue.put("b")

    handler.queue.forget()

    assert not handler.queue.has_thread
    assert handler.queue.count() == 0
    handler.may_go_on.set()


def test_it_rests_before_it_waits() -> None:
    handler = Handler()
    handler.queue.put("a")

    assert handler.has_rested.wait(PATIENCE_SECONDS)
    assert handler.handled == ["a"]
