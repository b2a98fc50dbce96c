"""HTTP client that sends bytes no library would."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class WireAnswer:
    """Response as it was received.

    status: 3 digits. headers: by lower-case names. content: the body.
    """

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """Return the problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        return dict(json.loads(self.content))

    @property
    def outcome(self) -> tuple[int, str]:
        """Return the status and the code of a problem."""
        return self.status, self.problem["code"]


class Wire:
    """Connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._received = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def ask(self, data: bytes) -> WireAnswer:
        """Send a request, and read its answer."""
        self.send(data)
        return self.read_answer()

    def read_answer(self) -> WireAnswer:
        """Read one response, and leave what follows it."""
        head, self._received = self._read_until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        is_chunked = headers.get("transfer-encoding") == "chunked"
        length = 0 if 100 <= status < 200 else int(headers.get("content-length", "0"))
        content = self._read_chunks() if is_chunked else self._read_exactly(length)
        return WireAnswer(status=status, headers=headers, content=content)

    def is_closed(self) -> bool:
        """Return whether the server closes the connection without sending anything else."""
        try:
            return self._received == b"" and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _read_chunks(self) -> bytes:
        content = b""
        while True:
            size, self._received = self._read_until(b"\r\n")
            chunk = self._read_exactly(int(size, 16))
            self._read_exactly(2)
            if not chunk:
                return content
            content += chunk

    def _read_exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            self._receive()
        content, self._received = self._received[:length], self._received[length:]
        return content

    def _read_until(self, end: bytes) -> tuple[bytes, bytes]:
        while end not in self._received:
            self._receive()
        head, _, rest = self._received.partition(end)
        return head, rest

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError(f"The server closed the connection after {self._received!r}.")
        self._received += data


def request(
    target: str = "/healthz", *headers: str, method: str = "GET", body: bytes = b"", host: str | None = "127.0.0.1"
) -> bytes:
    """Build a request; a body gets its length."""
    lines = [f"{method} {target} HTTP/1.1", *([f"Host: {host}"] if host else []), *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*chunks: bytes) -> bytes:
    """Encode a body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
