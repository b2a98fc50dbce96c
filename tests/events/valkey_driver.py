"""A Valkey server that tests may hurt, as the driver of the contract of transports."""

import signal
import time
from pathlib import Path
from typing import Any

import redis

from config.local.valkey import LocalValkey, keep_free_port, start_valkey
from sagas.events.transports.base import Consumer

from .transport_contract import LONG_IDLE_MS, SHORT_IDLE_MS, Driver


class ValkeyDriver(Driver):
    """A server of its own, with or without an append-only file."""

    def __init__(self, folder: Path | None) -> None:
        """Start the server; ``folder``: where it keeps its file."""
        self._settings = {} if folder is None else {"appendonly": "yes", "appendfsync": "always", "dir": str(folder)}
        self._port = keep_free_port()
        self.server: LocalValkey
        self.start()

    @property
    def client(self) -> Any:
        """A client of a stranger."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def options(self, *, is_hasty: bool = False) -> dict[str, Any]:
        return {"claim_idle_ms": SHORT_IDLE_MS if is_hasty else LONG_IDLE_MS}

    def abandon(self, reader: Consumer) -> None:
        """Cut the connection, and wait until what it held was idle for long enough."""
        self.client.client_kill_filter(_type="normal", skipme=True)
        time.sleep(2 * SHORT_IDLE_MS / 1000)

    def write(self, topic: str, attributes: dict[str, str], body: bytes) -> None:
        self.client.xadd(topic, {**attributes, "data": body})

    def refuse(self, topic: str) -> None:
        self.client.set(topic, "no stream")

    def lose_everything(self) -> None:
        self.client.flushall()

    def stop(self) -> None:
        self.server.process.stop()

    def start(self) -> None:
        self.server = start_valkey(self._port, settings=self._settings)
        self.url = self.server.url

    def freeze(self) -> None:
        self.server.process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.server.process.send(signal.SIGCONT)

    def fill(self) -> None:
        self.client.config_set("maxmemory", "1")

    def drain(self) -> None:
        self.client.config_set("maxmemory", "0")
