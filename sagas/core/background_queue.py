"""A bounded queue of this process, and one daemon thread that handles its items.

A producer neither waits nor fails, however slow or broken the handler is. The thread starts with the first item and
again after a fork, survives errors of the handler, and does not keep the process from ending.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

IDLE_SECONDS = 3600.0  # the longest sleep of the thread; an item wakes it

Item = TypeVar("Item")
Repeat = tuple[Item, float]
"""An item to handle again, and after how many seconds."""


class BackgroundQueue(Generic[Item]):
    """Queue of items that one thread handles in order; repeats are handled when they are due."""

    def __init__(
        self,
        handle: Callable[[Item], None],
        *,
        on_error: Callable[[Item, BaseException, bool], Repeat[Item] | None],
        thread_name: str,
        capacity: Callable[[], int],
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up a queue; its thread starts with the first item.

        ``on_error`` gets the item, what ``handle`` raised, and whether there is room for a repeat. It returns the
        repeat, if any; ``flush`` does not wait for it. ``on_idle`` is called before the thread waits.
        """
        self._handle, self._on_error, self._on_idle = handle, on_error, on_idle
        self._thread_name, self._capacity = thread_name, capacity
        self.forget()

    def forget(self) -> None:
        """Reset the queue: a forked child leaves the queued items to its parent."""
        self.has_failed = False
        self._lock = threading.Lock()
        self._items: queue.Queue[Item] | None = None
        self._thread: threading.Thread | None = None
        self._busy_since: float | None = None

    def put(self, item: Item) -> bool:
        """Queue an item. Never blocks.

        Returns: whether there was room.
        """
        with self._lock:
            if self._items is None:
                self._items = queue.Queue(maxsize=self._capacity())
            try:
                self._items.put_nowait(item)
            except queue.Full:
                return False
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, args=(self._items,), name=self._thread_name, daemon=True
                )
                self._thread.start()
        return True

    def flush(self, seconds: float) -> None:
        """Wait until every item was handled once, at most ``seconds``."""
        items, end = self._items, time.monotonic() + seconds
        while items is not None and items.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)

    def count(self) -> int:
        """Return how many items are waiting."""
        return self._items.qsize() if self._items is not None else 0

    @property
    def has_thread(self) -> bool:
        """Return whether an item was queued in this process."""
        return self._thread is not None

    @property
    def busy_seconds(self) -> float:
        """Return how long the present item has been handled."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    def _work(self, items: queue.Queue[Item]) -> None:
        later: list[tuple[float, Item]] = []
        while True:
            self._take_one(items, later)
            now = time.monotonic()
            due = [item for moment, item in later if moment <= now]
            later[:] = [(moment, item) for moment, item in later if moment > now]
            for item in due:
                self._handle_one(item, later)

    def _take_one(self, items: queue.Queue[Item], later: list[tuple[float, Item]]) -> None:
        """Handle the next item, or return without one when a repeat is due."""
        try:
            item = items.get_nowait()
        except queue.Empty:
            self._on_idle()
            pause = min((moment - time.monotonic() for moment, _ in later), default=IDLE_SECONDS)
            try:
                item = items.get(timeout=max(0.0, pause))
            except queue.Empty:
                return
        try:
            self._handle_one(item, later)
        finally:
            items.task_done()

    def _handle_one(self, item: Item, later: list[tuple[float, Item]]) -> None:
        self._busy_since = time.monotonic()
        try:
            self._handle(item)
            self.has_failed = False
        except BaseException as error:  # noqa: BLE001 - also from sys.exit(): other items must be handled
            self.has_failed = True
            if repeat := self._on_error(item, error, len(later) < self._capacity()):
                later.append((time.monotonic() + repeat[1], repeat[0]))
        finally:
            self._busy_since = None
