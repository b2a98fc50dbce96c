"""gunicorn worker that answers requests which never reach Django with problem documents, too."""

import re
from http import HTTPStatus
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from sagas.api.problem_documents import MEDIA_TYPE, Problem

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
DETAILS = {
    400: ("bad-request", "The request is malformed."),
    403: ("permission-denied", "This request is not allowed."),
    414: ("uri-too-long", "The request's URL is too long."),
    417: ("expectation-failed", "The only supported expectation is 100-continue."),
    431: ("headers-too-large", "The request has too many or too long headers."),
    500: ("internal-error", "An internal error occurred; it was logged."),
    501: ("not-implemented", "The only supported transfer coding is chunked."),
}


class Recorder:
    """Substitute for a connection while gunicorn writes its error page."""

    def __init__(self) -> None:
        self.written = b""

    def sendall(self, data: bytes) -> None:
        """Store the data."""
        self.written += data

    def gettimeout(self) -> float:
        """Return the time-out of a connection that does not wait."""
        return 0.0


class ProblemWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, with this project's error documents."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Log as gunicorn does, and send a problem document with its status."""
        recorder = Recorder()
        super().handle_error(req, recorder, addr, exc)
        if not recorder.written:
            return
        try:
            client.sendall(make_answer(recorder.written))
        except OSError:
            self.log.debug("The client disconnected before the error was sent.")


def make_answer(page: bytes) -> bytes:
    """Return the problem document for gunicorn's error page; the page itself if its status cannot be read."""
    match = STATUS_LINE.match(page)
    if match is None:
        return page
    status = int(match[1])
    code, detail = DETAILS.get(status, DETAILS[400])
    body = Problem(status=status, code=code, detail=detail).as_response().content
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "Connection: close\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "\r\n"
    )
    return head.encode("ascii") + body
