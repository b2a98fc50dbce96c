"""Concurrent customers who retry a request with its key until the shop accepts it."""

import math
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from examples.demo.client import Answer, ShopClient
from sagas.core.states import Coordination

from .kinds import Kind

ACCEPTED = 202
# These are fine: the database is unavailable, or the first request with this key is in progress.
COME_AGAIN = frozenset({409, 503})
LONGEST_PAUSE_SECONDS = 1.0
GIVE_UP_SECONDS = 120.0


@dataclass(kw_only=True)
class Sales:
    """Orders the shop accepted.

    kinds: of each accepted order, by number. first_seconds: of each request that was accepted at once.
    all_seconds: every customer's wait. answers: counts by status; ``none`` without a response.
    wrong: forbidden responses.
    """

    kinds: dict[str, Kind] = field(default_factory=dict)
    first_seconds: list[float] = field(default_factory=list)
    all_seconds: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_answer(self, status: int | None) -> None:
        """Count a response, or a missing one."""
        with self._lock:
            self.answers[str(status or "none")] += 1

    def note_wrong(self, sentence: str) -> None:
        """Record a forbidden response."""
        with self._lock:
            self.wrong.append(sentence)

    def note_accepted(self, number: str, kind: Kind, *, seconds: float, is_first: bool) -> None:
        """Record an accepted order; two requests must not get the same one."""
        with self._lock:
            if number in self.kinds:
                self.wrong.append(f"order {number} answers two requests")
            self.kinds[number] = kind
            self.all_seconds.append(seconds)
            if is_first:
                self.first_seconds.append(seconds)


@dataclass(kw_only=True)
class Customers:
    """Customers who place checkouts from several threads.

    coordination: of all their checkouts. per_second: maximum over all threads. may_place: awaited before
    each request. seed: of their choices. seconds: nothing is placed after this time; None: no limit. progress: called
    with the number done after each.
    """

    client: ShopClient
    coordination: Coordination = Coordination.ORCHESTRATION
    threads: int = 4
    per_second: float = 20.0
    may_place: Callable[[], bool] = lambda: True
    seed: int = 0
    seconds: float | None = None
    progress: Callable[[int], None] = lambda _done: None

    def place_all(self, kinds: Sequence[Kind]) -> Sales:
        """Place one checkout of each of these kinds, in order, until the time is over."""
        sales, started_at = Sales(), time.monotonic()

        def place(position: int, kind: Kind) -> None:
            wait_until_time(started_at + min(position / self.per_second, self.seconds or math.inf))
            while not self.may_place():
                time.sleep(0.1)
            if self.seconds is not None and time.monotonic() > started_at + self.seconds:
                return
            self._place(kind, random.Random(f"{self.seed}:{position}"), sales)

        with ThreadPoolExecutor(self.threads, thread_name_prefix="customer") as executor:
            placing = [executor.submit(place, position, kind) for position, kind in enumerate(kinds)]
            for number, done in enumerate(placing, 1):
                done.result()
                self.progress(number)
        return sales

    def _place(self, kind: Kind, chance: random.Random, sales: Sales) -> None:
        # Independent of the seed: another test of the same shop with the same seed would get this order.
        body, key, started_at = kind.describe(chance, self.coordination), str(uuid.uuid4()), time.monotonic()
        is_first = True
        while time.monotonic() < started_at + GIVE_UP_SECONDS:
            answer = self._ask(body, key, sales)
            if answer is not None and answer.status == ACCEPTED:
                seconds = time.monotonic() - started_at
                sales.note_accepted(str(answer.body["number"]), kind, seconds=seconds, is_first=is_first)
                return
            if answer is not None and answer.status not in COME_AGAIN:
                sales.note_wrong(f"{kind.name} was answered {answer.status}: {answer.body}")
                return
            if answer is not None and "Retry-After" not in answer.headers:
                sales.note_wrong(f"{kind.name} was answered {answer.status} without Retry-After")
            is_first = False
            time.sleep(chance.uniform(0.1, LONGEST_PAUSE_SECONDS))
        sales.note_wrong(f"{kind.name} was never accepted within {GIVE_UP_SECONDS:.0f} seconds")

    def _ask(self, body: dict[str, object], key: str, sales: Sales) -> Answer | None:
        try:
            answer = self.client.check_out(body, key=key)
        except OSError:
            sales.note_answer(None)
            return None
        sales.note_answer(answer.status)
        return answer


def wait_until_time(moment: float) -> None:
    """Sleep until a time of the monotonic clock, if it is in the future."""
    if (left := moment - time.monotonic()) > 0:
        time.sleep(left)
