"""Keep the web process's pool of database connections good after the database failed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus

from django.db import connections
from django.http import HttpRequest, HttpResponse

_renewing = threading.Lock()


class RenewPoolsMiddleware:
    """After an answer that the database is away, throw out of the pools what its end has broken.

    A pool finds broken connections one at a time, with growing pauses, in the time of whoever asks for one: after a
    restart several requests would wait for nothing, and fail although the database is back.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, and have the pools looked at if that was 503; nobody waits for it."""
        response = self.get_response(request)
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE and not _renewing.locked():
            threading.Thread(target=renew_pools, name="renew-pools", daemon=True).start()
        return response


def renew_pools() -> None:
    """Replace the broken connections of every pool; one thread at a time is enough."""
    if not _renewing.acquire(blocking=False):
        return
    try:
        for alias in connections:
            pool = getattr(connections[alias], "pool", None)
            if pool is not None:
                pool.check()
    finally:
        _renewing.release()
        connections.close_all()
