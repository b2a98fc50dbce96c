"""Breakers of what choreographed checkouts need: consumers, relays and the broker's streams."""

import psutil

from tests.processes import BUSY_MACHINE_SECONDS, Process, wait_until

from .breaking import Breaker, ask_valkey, port_of
from .testbed import Testbed

COMMANDS = {
    "consumer": ("event_consume",),
    "second consumer": ("event_consume",),
    "relay": ("outbox_relay", "--loop"),
}
STREAM = "checkout"
GROUPS = ("orders", "payments", "inventory", "shipping", "sagas")


class EventProcessBreaker(Breaker):
    """Killer of consumers and relays, with SIGKILL; a killed one is restarted at once."""

    faults = frozenset({"consumer killed", "relay killed"})

    def __init__(self, testbed: Testbed, *, every: tuple[float, float], seed: int) -> None:
        super().__init__(testbed, every=every, seed=seed)
        self.processes = {name: self._start(name) for name in COMMANDS}
        self.restore()

    def break_once(self) -> None:
        """Kill one that is connected to the broker; one that still starts would never get to anything."""
        ready = [name for name, process in self.processes.items() if self._is_connected(process)]
        if ready:
            name = self.chance.choice(ready)
            self.processes[name].kill()
            self.processes[name] = self._start(name)
            self.injected["relay killed" if name == "relay" else "consumer killed"] += 1

    def restore(self) -> None:
        """Restart those that ended, and wait until all are connected."""
        for name, process in self.processes.items():
            if not process.is_running:
                self.processes[name] = self._start(name)
        wait_until(
            lambda: all(map(self._is_connected, self.processes.values())),
            "consumers and relay are connected",
            timeout_seconds=BUSY_MACHINE_SECONDS,
            pause_seconds=0.1,
        )

    def _start(self, name: str) -> Process:
        return self.testbed.project.start_command(name.replace(" ", "-"), *COMMANDS[name])

    def _is_connected(self, process: Process) -> bool:
        port = port_of(self.testbed.shop.broker)
        try:
            connections = psutil.Process(process.pid).net_connections("tcp4")
        except psutil.Error:
            return False
        return any(connection.raddr and connection.raddr.port == port for connection in connections)


class StreamBreaker(Breaker):
    """Breaker that trims the stream to its last entries, or destroys the group of one consumer."""

    faults = frozenset({"stream trimmed", "group lost"})

    def break_once(self) -> None:
        """Do the next in turn."""
        if sum(self.injected.values()) % 2:
            what, command = "group lost", f"XGROUP DESTROY {STREAM} {self.chance.choice(GROUPS)}"
        else:
            what, command = "stream trimmed", f"XTRIM {STREAM} MAXLEN {self.chance.randrange(3)}"
        try:
            answer = ask_valkey(self.testbed.shop.broker, command)
        except OSError:
            return  # the broker is away
        # Nothing is trimmed, and no group is lost, of a stream that was flushed a moment ago.
        if answer.startswith(":") and answer != ":0":
            self.injected[what] += 1
