"""Request bodies: chunked ones are read in full, and unread ones cannot disturb the next request.

Django reads as many bytes as Content-Length says, and none without it. The web server keeps a connection open after a
response, so the unread rest of a body would be parsed as the next request.
"""

import io
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings

from sagas.api.problem_documents import MEDIA_TYPE, Problem

# Limits for discarding a body after an early response: a client that is cut off while it sends does not read the
# response.
LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 5.0
STEP_BYTES = 64 * 1024

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

LENGTH_REQUIRED = Problem(
    status=411, code="length-required", detail="Send a Content-Length; this server reads no body without one."
)
MALFORMED = Problem(status=400, code="bad-request", detail="The chunked body is malformed or incomplete.")


class CountedBody:
    """Request body with a known length, which counts its unread bytes."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self.left = length

    def read(self, size: int = -1) -> bytes:
        """Return at most this many bytes, or all."""
        return self._count(self._stream.read() if size is None or size < 0 else self._stream.read(size))

    def readline(self, size: int = -1) -> bytes:
        """Return the rest of the line, at most this many bytes."""
        return self._count(self._stream.readline() if size is None or size < 0 else self._stream.readline(size))

    def readlines(self, hint: int = -1) -> list[bytes]:
        """Return all lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _count(self, data: bytes) -> bytes:
        self.left -= len(data)
        return data


class LingeringAnswer:
    """Response after which the connection stays open until the client stops sending, within limits."""

    def __init__(self, answer: Iterable[bytes], connection: socket.socket | None) -> None:
        self._answer = answer
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        """Discard the rest of the body after the response was sent."""
        if hasattr(self._answer, "close"):
            self._answer.close()
        if self._connection is not None:
            linger(self._connection)


class BodyKeeper:
    """WSGI wrapper: gives each body a length, and makes the server close connections with unread bodies."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
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
    """Read a chunked body, so that the application gets its length.

    Returns: the problem if it cannot be read or is too large; None if it was read.
    """
    if not environ.get("wsgi.input_terminated"):
        return LENGTH_REQUIRED
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    try:
        raw = environ["wsgi.input"].read(limit + 1)
    except (OSError, *list_parse_errors()):
        return MALFORMED
    if len(raw) > limit:
        return Problem(status=413, code="body-too-large", detail=f"A body may have at most {limit} bytes.")
    del environ["HTTP_TRANSFER_ENCODING"]
    environ["CONTENT_LENGTH"] = str(len(raw))
    environ["wsgi.input"] = io.BytesIO(raw)
    return None


def list_parse_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that gunicorn raises at a malformed chunk; empty under other servers."""
    try:
        from gunicorn.http.errors import ParseException
    except ImportError:
        return ()
    return (ParseException,)


def refuse(problem: Problem, start_response: StartResponse) -> list[bytes]:
    """Return a response with a problem, without calling the application."""
    response = problem.as_response()
    headers = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(response.content)))]
    start_response(f"{problem.status} {response.reason_phrase}", headers)
    return [response.content]


def linger(connection: socket.socket) -> None:
    """Close the sending side, and discard incoming data."""
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
        # The client disconnected, or stopped sending without closing.
        return


def leave_open() -> None:
    """Do nothing: this server closes its connections by itself."""
