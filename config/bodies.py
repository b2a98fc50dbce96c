"""Bodies of requests: those without a length are taken in, and none that was not read disturbs the next request.

Django reads as many bytes as Content-Length says, and none without it. The web server keeps a connection open after an
answer, and what was not read of a body would be the beginning of the next request.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings

from sagas.api.problem_documents import MEDIA_TYPE, Problem

# How much of a body is thrown away, and for how long, after an answer that did not wait for it: a client that is cut
# off while it sends does not read why.
LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 5.0
STEP_BYTES = 64 * 1024

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

LENGTH_REQUIRED = Problem(
    status=411, code="length-required", detail="Send a Content-Length; this server reads no body without one."
)
MALFORMED = Problem(status=400, code="bad-request", detail="The body's chunks are malformed, or end too early.")


class CountedBody:
    """The body of a request with a length, and how much of it nobody has read."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self.left = length

    def read(self, size: int = -1) -> bytes:
        """Read this much, or all."""
        return self._count(self._stream.read() if size is None or size < 0 else self._stream.read(size))

    def readline(self, size: int = -1) -> bytes:
        """Read to the end of the line, at most this much."""
        return self._count(self._stream.readline() if size is None or size < 0 else self._stream.readline(size))

    def readlines(self, hint: int = -1) -> list[bytes]:
        """Read all lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _count(self, data: bytes) -> bytes:
        self.left -= len(data)
        return data


class LingeringAnswer:
    """An answer after which a connection is closed only when its client has stopped sending, within reason."""

    def __init__(self, answer: Iterable[bytes], connection: socket.socket | None) -> None:
        self._answer = answer
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        """Take the rest in, after the answer was sent."""
        if hasattr(self._answer, "close"):
            self._answer.close()
        if self._connection is not None:
            linger(self._connection)


class BodyKeeper:
    """Wrap a WSGI application: it gets a length with each body, and the server hears of bodies that it left unread."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        close = getattr(environ["wsgi.input"], "force_close", leave_open)
        connection = environ.get("gunicorn.socket")
        if "HTTP_TRANSFER_ENCODING" in environ:
            refusal = take_in(environ)
            if refusal is not None:
                close()
                return LingeringAnswer(refuse(refusal, start_response), connection)
            return self._application(environ, start_response)
        body = environ["wsgi.input"] = CountedBody(environ["wsgi.input"], int(environ.get("CONTENT_LENGTH") or 0))

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if body.left > 0:
                close()
            return start_response(status, headers, exc_info)

        answer = self._application(environ, start)
        return LingeringAnswer(answer, connection) if body.left > 0 else answer


def take_in(environ: dict[str, Any]) -> Problem | None:
    """Read a body that comes in chunks, so that the application finds its length.

    Returns: the problem when it cannot be read, or is too large.
    """
    if not environ.get("wsgi.input_terminated"):
        return LENGTH_REQUIRED
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    try:
        raw = environ["wsgi.input"].read(limit + 1)
    except (OSError, *list_parse_errors()):
        return MALFORMED
    if len(raw) > limit:
        return Problem(status=413, code="body-too-large", detail=f"A body may have {limit} bytes.")
    del environ["HTTP_TRANSFER_ENCODING"]
    environ["CONTENT_LENGTH"] = str(len(raw))
    environ["wsgi.input"] = io.BytesIO(raw)
    return None


def list_parse_errors() -> tuple[type[Exception], ...]:
    """Return what the web server raises at a malformed chunk; nothing under another server than gunicorn."""
    try:
        from gunicorn.http.errors import ParseException
    except ImportError:
        return ()
    return (ParseException,)


def refuse(problem: Problem, start_response: StartResponse) -> list[bytes]:
    """Answer with a problem, without the application."""
    response = problem.as_response()
    headers = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(response.content)))]
    start_response(f"{problem.status} {response.reason_phrase}", headers)
    return [response.content]


def linger(connection: socket.socket) -> None:
    """Close the sending side, and discard what still comes."""
    give_up_at = time.monotonic() + LINGER_SECONDS
    taken = 0
    try:
        connection.shutdown(socket.SHUT_WR)
        while taken < LINGER_BYTES and (left_seconds := give_up_at - time.monotonic()) > 0:
            connection.settimeout(left_seconds)
            data = connection.recv(STEP_BYTES)
            if not data:
                return
            taken += len(data)
    except OSError:
        # The client has gone, or has stopped sending without an end.
        return


def leave_open() -> None:
    """Do nothing: this server closes its connections by itself."""
