"""Runs of a saga to its end in this process, without waiting for due times."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from .. import clock
from ..conf import get_settings
from ..engine import advance, closed_hooks
from ..engine.notify import eager
from ..exceptions import SagaError
from ..models import Saga
from ..operators.presentation.transcript import render
from .faults import SimulatedCrash

MAX_ROUNDS = 500  # far more than any test needs; a saga that is still busy then loops


class NotDrained(SagaError):
    """The saga was still busy after MAX_ROUNDS rounds of ``drain``; the message has its transcript."""


def drain(
    saga: Saga | UUID,
    *,
    patience: timedelta = timedelta(hours=2),
    queues: frozenset[str] | None = None,
    until: Callable[[Saga], bool] = lambda _saga: False,
) -> Saga:
    """Advance a saga until it is closed, is not due within ``patience``, or fulfils ``until``.

    Retry delays, leases and deadlines take no real time: the engine's clock is moved to each due time and restored at
    the end. The next round recovers the saga from a simulated crash, as from a real one. A hook of
    ``Meta.on_closed`` is called in this thread; a failing one is called again within ``patience``.
    Units: ``patience`` in the saga's own time.
    Returns: the saga as stored.
    Raises: NotDrained when it is still busy after 500 rounds.
    """
    saga_id = saga.pk if isinstance(saga, Saga) else saga
    with clock.restored(), hooks_called_here():
        ends_at = clock.read_now(get_settings().database) + patience
        for _ in range(MAX_ROUNDS):
            look(saga_id, queues=queues)
            found = read(saga_id)
            due_at = found.due_at or found.hook_due_at
            if due_at is None or due_at > ends_at or until(found):
                return found
            _pass_time_until(due_at)
    raise NotDrained(f"Saga {saga_id} is still busy after {MAX_ROUNDS} rounds:\n{render(saga_id)}")


@contextmanager
def hooks_called_here() -> Iterator[None]:
    """Call hooks in the thread that advances a saga, because only it sees a test's uncommitted rows."""
    before = closed_hooks.run
    closed_hooks.run = closed_hooks.run_here
    try:
        yield
    finally:
        closed_hooks.run = before


def look(saga_id: UUID, *, queues: frozenset[str] | None = None, worker: str = "test") -> int:
    """Advance a saga once, and survive a simulated crash.

    Returns: the number of attempts that ran; 0 after a crash.
    """
    try:
        # ``drain`` handles everything that is woken, in its own order.
        with eager.held_back(is_answered=False):
            return advance.advance(saga_id, queues=queues, worker=worker)
    except SimulatedCrash:
        return 0


def read(saga_id: UUID) -> Saga:
    """Return a saga as stored."""
    return Saga.objects.using(get_settings().database).get(pk=saga_id)


def pass_time(by: timedelta | None = None, *, until_due: Saga | None = None) -> None:
    """Move the engine's clock, by a duration or until a saga is due; it stays moved in this process."""
    if by is not None:
        clock.move(by)
    if until_due is not None and until_due.due_at is not None:
        _pass_time_until(until_due.due_at)


def _pass_time_until(moment: datetime) -> None:
    ahead = moment - clock.read_now(get_settings().database)
    if ahead > timedelta():
        clock.move(ahead)
