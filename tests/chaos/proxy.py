"""TCP proxy in front of PostgreSQL that refuses connections, and loses a COMMIT or its response.

It parses just enough of the protocol to find a COMMIT: the length of each client message, and the text of simple
queries and parse messages.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from urllib.parse import urlsplit, urlunsplit

from psycopg.conninfo import conninfo_to_dict

from config.local.valkey import keep_free_port

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
READY = b"Z\x00\x00\x00\x05"
QUERIES = (b"Q", b"P")
# Like a connection that ends before its last packet is processed: the client acts before the server commits.
LATE_SECONDS = 0.3


class Fate(Enum):
    """What happens to a COMMIT."""

    PASS = "passed on"
    DROP = "dropped"
    ANSWER_LOST = "answer lost"
    LATE = "arrived after its client had gone"


def pass_on(_number: int) -> Fate:
    """Pass everything on."""
    return Fate.PASS


class PostgresProxy:
    """TCP server on 127.0.0.1 that forwards connections to one PostgreSQL.

    decide: called with the number of each COMMIT, from 1, over all connections.
    """

    def __init__(self, server_url: str) -> None:
        self.decide: Callable[[int], Fate] = pass_on
        self.fates: Counter[Fate] = Counter()
        self.port = keep_free_port()
        self._server = conninfo_to_dict(server_url)
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._listener: socket.socket | None = None
        self.admit()

    def url_of(self, url: str) -> str:
        """Return the URL of a database of this server through the proxy."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        query = "sslmode=disable&gssencmode=disable"
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self.port}", query=query))

    def admit(self) -> None:
        """Accept connections, as at the start."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=[listener], name="proxy", daemon=True).start()

    def refuse(self) -> None:
        """Cut every connection and refuse new ones, like a server that is down."""
        if self._listener is not None:
            # Closing alone would leave the accepting thread, and the port, in place.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def connect(self) -> socket.socket:
        """Open a connection to the server."""
        host, port = str(self._server.get("host") or "127.0.0.1"), int(self._server.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port), timeout=10)
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(f"{host}/.s.PGSQL.{port}")
        return upstream

    def judge_commit(self) -> Fate:
        """Count a COMMIT, and decide its fate."""
        with self._lock:
            fate = self.decide(sum(self.fates.values()) + 1)
            self.fates[fate] += 1
            return fate

    def forget(self, connection: _Connection) -> None:
        """Drop an ended connection."""
        with self._lock:
            self._connections.discard(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                connection = _Connection(self, client, self.connect())
            except OSError:
                client.close()
                continue
            with self._lock:
                self._connections.add(connection)
            connection.start()


class _Connection:
    """Client connection, forwarded by a thread in each direction."""

    def __init__(self, proxy: PostgresProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._is_muted = False

    def start(self) -> None:
        """Forward data until either side ends."""
        for pump in (self._pump_requests, self._pump_answers):
            threading.Thread(target=self._run, args=[pump], name="proxy-pump", daemon=True).start()

    def close(self) -> None:
        """Close both sides."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._proxy.forget(self)

    def _run(self, pump: Callable[[], None]) -> None:
        try:
            pump()
        except OSError:
            pass
        finally:
            self.close()

    def _pump_requests(self) -> None:
        if not self._begin():
            return
        while header := self._read(5):
            body = self._read(struct.unpack(">I", header[1:])[0] - 4)
            is_commit = header[:1] in QUERIES and b"COMMIT" in body.split(b"\x00")
            if not self._pass_request(header + body, self._proxy.judge_commit() if is_commit else Fate.PASS):
                return

    def _begin(self) -> bool:
        """Forward the first message; refuse encryption, which would hide the rest."""
        while True:
            length, code = struct.unpack(">II", self._read(8))
            if code in (SSL_REQUEST, GSS_REQUEST):
                self._client.sendall(b"N")
                continue
            self._server.sendall(struct.pack(">II", length, code) + self._read(length - 8))
            return code != CANCEL_REQUEST

    def _pass_request(self, message: bytes, fate: Fate) -> bool:
        """Forward a message according to its fate.

        Returns: whether the connection continues.
        """
        if fate is Fate.DROP:
            return False
        if fate is Fate.LATE:
            self._is_muted = True
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
            time.sleep(LATE_SECONDS)
        self._is_muted = self._is_muted or fate is Fate.ANSWER_LOST
        self._server.sendall(message)
        if fate is Fate.LATE:
            # The server must not see the end of the connection before it has committed.
            time.sleep(LATE_SECONDS)
            return False
        return True

    def _pump_answers(self) -> None:
        while answer := self._server.recv(65536):
            if not self._is_muted:
                self._client.sendall(answer)
            elif READY in answer:
                return

    def _read(self, count: int) -> bytes:
        """Return exactly this number of bytes.

        Raises: OSError if the client has disconnected.
        """
        parts = b""
        while len(parts) < count:
            part = self._client.recv(count - len(parts))
            if not part:
                raise ConnectionResetError("The client has gone.")
            parts += part
        return parts


@contextmanager
def open_proxy(server_url: str) -> Iterator[PostgresProxy]:
    """Run a proxy for as long as the block lasts."""
    proxy = PostgresProxy(server_url)
    try:
        yield proxy
    finally:
        proxy.refuse()
