"""Breakers that inject faults at random until stopped, then restore everything.

Each breaker has its own thread and harms only what this run has started.
"""

import random
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil

from tests.end_to_end.shops import Broker
from tests.processes import Process

from .postgres import Stop
from .testbed import Testbed

FROZEN_SECONDS = 2.0
DATABASE_AWAY_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Kill: the dead processes and the time, by the machine's clock, which the database shares."""

    pids: frozenset[int]
    at: float


class Breaker(ABC, threading.Thread):
    """Injector of one kind of fault at random intervals.

    faults: the names it counts.
    """

    faults: frozenset[str] = frozenset()

    def __init__(self, testbed: Testbed, *, every: tuple[float, float], seed: int) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.testbed = testbed
        self.every = every
        self.chance = random.Random(f"{type(self).__name__}:{seed}")
        self.injected: Counter[str] = Counter()
        self.failure: Exception | None = None
        self._told_to_stop = threading.Event()

    def run(self) -> None:
        """Break until stopped."""
        try:
            while not self._told_to_stop.wait(self.chance.uniform(*self.every)):
                self.break_once()
        except Exception as error:  # noqa: BLE001 - raised by finish()
            self.failure = error

    def finish(self) -> None:
        """Stop breaking, and restore what is unavailable.

        Raises: the error that ended its thread.
        """
        self._told_to_stop.set()
        if self.is_alive():
            self.join()
        self.restore()
        if self.failure is not None:
            raise self.failure

    @abstractmethod
    def break_once(self) -> None:
        """Break one thing, and count it."""

    def restore(self) -> None:
        """Restart what is unavailable."""


class WorkerBreaker(Breaker):
    """Killer of workers, or of single children, with SIGKILL; a killed worker is restarted at once."""

    faults = frozenset({"worker killed", "worker's child killed"})

    def __init__(
        self, testbed: Testbed, *, every: tuple[float, float], seed: int, workers: int = 2, children: int = 2
    ) -> None:
        super().__init__(testbed, every=every, seed=seed)
        self.children = children
        self.kills: list[Kill] = []
        self.workers = [self._start(number) for number in range(workers)]
        self.restore()

    def break_once(self) -> None:
        """Kill one that is at work; one that still starts would never get to anything."""
        ready = [number for number, worker in enumerate(self.workers) if is_ready(worker)]
        if not ready:
            return
        number = self.chance.choice(ready)
        if self.chance.random() < 0.5:
            self.kill_child(number)
        else:
            self.kill_worker(number)

    def kill_worker(self, number: int) -> Kill:
        """Kill a worker with all its children, and start a replacement."""
        worker = self.workers[number]
        kill = Kill(pids=frozenset(member.pid for member in worker.family()), at=time.time())
        worker.kill()
        self.workers[number] = self._start(number)
        return self._note("worker killed", kill)

    def kill_child(self, number: int, pid: int | None = None) -> Kill:
        """Kill one child, any by default; its parent replaces it."""
        children = [member.pid for member in self.workers[number].family()[1:]]
        victim = self.chance.choice(children) if pid is None and children else pid
        kill = Kill(pids=frozenset({victim} if victim in children else ()), at=time.time())
        if victim not in children:
            return kill
        try:
            self.workers[number].kill_child(victim)
        except (ProcessLookupError, psutil.NoSuchProcess):
            return kill
        return self._note("worker's child killed", kill)

    def restore(self) -> None:
        """Wait until every worker consumes, and restart those that ended."""
        give_up_at = time.monotonic() + 90
        while not all(is_ready(worker) for worker in self.workers):
            for number, worker in enumerate(self.workers):
                if not worker.is_running:
                    self.workers[number] = self._start(number)
            if time.monotonic() > give_up_at:
                raise TimeoutError("A worker did not start.")
            time.sleep(0.1)

    def _start(self, number: int) -> Process:
        return self.testbed.shop.start_worker(f"chaos{number}", concurrency=self.children, ready=False)

    def _note(self, what: str, kill: Kill) -> Kill:
        self.injected[what] += 1
        self.kills.append(kill)
        return kill


class WebBreaker(Breaker):
    """Killer of the web server's only child while it answers requests; gunicorn replaces it."""

    faults = frozenset({"web process killed"})

    def break_once(self) -> None:
        """Kill it."""
        for child in self.testbed.web.family()[1:]:
            self.testbed.web.kill_child(child.pid)
            self.injected["web process killed"] += 1


class BrokerBreaker(Breaker):
    """Breaker that flushes the broker, sometimes freezes it, sometimes replaces it with an empty one."""

    faults = frozenset({"broker flushed", "broker frozen", "broker killed"})

    def break_once(self) -> None:
        """Do the next in turn."""
        turn = sum(self.injected.values()) % 4
        if turn == 1:
            self._freeze()
        elif turn == 3:
            self._replace()
        else:
            ask_valkey(self.testbed.shop.broker, "FLUSHALL")
            self.injected["broker flushed"] += 1

    def _freeze(self) -> None:
        broker = self.testbed.shop.broker
        broker.process.send(signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)
        broker.process.send(signal.SIGCONT)
        self.injected["broker frozen"] += 1

    def _replace(self) -> None:
        self.testbed.shop.kill_broker()
        self.testbed.shop.restart_broker()
        self.injected["broker killed"] += 1


class DatabaseBreaker(Breaker):
    """Restarter of PostgreSQL: fast, immediate, and after a SIGKILL."""

    faults = frozenset(f"database ended ({how.name.lower()})" for how in Stop)

    def break_once(self) -> None:
        """Do the next in turn."""
        how = list(Stop)[sum(self.injected.values()) % len(Stop)]
        self.testbed.postgres.restart(how, away_seconds=self.chance.uniform(0, DATABASE_AWAY_SECONDS))
        self.injected[f"database ended ({how.name.lower()})"] += 1


@dataclass(kw_only=True)
class Breakers:
    """All breakers, running concurrently."""

    all: list[Breaker] = field(default_factory=list)

    def start(self) -> None:
        """Start all breakers."""
        for breaker in self.all:
            breaker.start()

    def finish(self) -> None:
        """Stop all before restoring anything: each may need what another one breaks."""
        for breaker in self.all:
            breaker._told_to_stop.set()
        for breaker in self.all:
            if breaker.is_alive():
                breaker.join()
        for breaker in self.all:
            breaker.finish()

    @property
    def injected(self) -> Counter[str]:
        """Count the injected faults by name."""
        return sum((breaker.injected for breaker in self.all), Counter())

    @property
    def has_broken_everything(self) -> bool:
        """Return whether each fault was injected, or a breaker has failed, which ``finish`` raises."""
        return any(b.failure for b in self.all) or all(b.faults <= set(b.injected) for b in self.all)

    @property
    def kills(self) -> list[Kill]:
        """List the kills of workers."""
        return [kill for breaker in self.all if isinstance(breaker, WorkerBreaker) for kill in breaker.kills]


def is_ready(worker: Process) -> bool:
    """Return whether a worker runs and consumes."""
    return worker.is_running and " ready." in worker.log


def port_of(broker: Broker) -> int:
    """Return the broker's port."""
    return int(urlsplit(broker.url).port or 0)


def ask_valkey(broker: Broker, command: str) -> str:
    """Send one command of its protocol to the broker.

    Returns: the first line of its answer.
    """
    with socket.create_connection(("127.0.0.1", port_of(broker)), timeout=5) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(1024).decode().splitlines()[0]
