"""Requests that wait for their saga to end, at a bounded cost.

While it sleeps a waiting request holds no database connection, and only a few requests of a process may wait at
once: the others would otherwise find no free thread.
"""

import threading
import time
from uuid import UUID

from django.conf import settings
from django.db import connection

from sagas.core.states import SagaState
from sagas.models import Saga

# So many threads of a web process may sleep here: never all, so that it still serves other requests.
MAX_WAITERS: int = settings.MOST_WAITING_REQUESTS
FIRST_PAUSE_SECONDS = 0.05
# Customers do not notice half a second; a thousand waiting requests at a tenth of it would load the database.
LONGEST_PAUSE_SECONDS = 0.5

_places = threading.BoundedSemaphore(MAX_WAITERS)


def wait_until_closed(saga_id: UUID, *, seconds: float) -> bool:
    """Return when the saga is closed or the time is over.

    Returns: False when there was no place to wait, True otherwise, whether the saga is closed or not.
    Tx: must not be inside one.
    """
    if not _places.acquire(blocking=False):
        return False
    try:
        _watch(saga_id, ends_at=time.monotonic() + seconds)
    finally:
        _places.release()
    return True


def _watch(saga_id: UUID, *, ends_at: float) -> None:
    pause = FIRST_PAUSE_SECONDS
    while _is_open(saga_id):
        left = ends_at - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _is_open(saga_id: UUID) -> bool:
    """Look once, and give the connection back before the caller sleeps."""
    try:
        state = Saga.objects.filter(pk=saga_id).values_list("state", flat=True).first()
    finally:
        connection.close()
    return state is not None and SagaState(state).is_open
