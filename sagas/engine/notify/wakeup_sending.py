"""Wake-ups: messages that ask a worker to advance a saga, sent without ever waiting for a broker.

A wake-up is put into a bounded queue of this process, and one daemon thread publishes it. A slow, frozen or absent
broker costs only the wake-up: the sweep finds the saga.
"""

import atexit
import logging
import os
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from celery import current_app
from django.db import transaction
from django.utils.module_loading import import_string

from ...conf import get_settings
from ...core.background_queue import BackgroundQueue
from ...core.rare_warnings import RareWarnings
from . import eager
from .celery_apps import TASK

logger = logging.getLogger(__name__)

# How long a short-lived process waits at exit for its last wake-ups; a worker's sweep covers the rest.
FLUSH_SECONDS = 1.0
STUCK_SECONDS = 5.0  # a broker that takes longer for one wake-up counts as failing
ANSWER_HOLDS_SWEEPS = 3  # a queue length older than this many sweep intervals is not used

BY_CELERY, NOTHING = "celery", "none"  # values of SAGAS["WAKEUP"] other than a dotted path

WakeUp = tuple[UUID, str]
Question = str  # a queue whose length is to be read
_found: dict[str, Callable[[UUID, str], None]] = {}


def send(saga_id: UUID, queue_name: str = "") -> None:
    """Wake a worker that serves the queue to advance the saga. Never blocks, never raises."""
    settings = get_settings()
    try:
        find_sender(settings.wakeup)(saga_id, queue_name or settings.common_queue)
    except Exception:
        logger.exception("Wake-up lost; the sweep will find the saga.", extra={"saga_id": str(saga_id)})


def send_after_commit(saga_id: UUID, queues: Iterable[str] = ("",)) -> None:
    """Send a wake-up for a saga or a bulk to each of the queues after the commit.

    Tx: of the engine's database; without one, the wake-ups are sent at once.
    """
    for name in queues:
        # A function, because Django logs the name of a callback that fails.
        transaction.on_commit(
            lambda name=name: send(saga_id, name),  # type: ignore[misc]
            using=get_settings().database,
            robust=True,
        )


def find_sender(name: str) -> Callable[[UUID, str], None]:
    """Return the function that ``SAGAS["WAKEUP"]`` names: ``celery``, ``none``, or a dotted path.

    Raises: ImportError for a path that cannot be imported.
    """
    if name == BY_CELERY:
        return send_by_celery
    if name == NOTHING:
        return send_nothing
    if name not in _found:
        _found[name] = import_string(name)
    return _found[name]


def send_nothing(saga_id: UUID, queue_name: str) -> None:
    """Send nothing and leave everything to the sweep: for projects without a broker, and for tests."""


def send_by_celery(saga_id: UUID, queue_name: str) -> None:
    """Queue the wake-up for the thread that publishes through Celery, or handle it here if Celery is eager."""
    if current_app.conf.task_always_eager:
        eager.answer(saga_id, current_app.tasks[TASK].work_on)
        return
    _sender.put((saga_id, queue_name))


def uses_celery() -> bool:
    """Return whether wake-ups go to Celery and not to the project's own function or nowhere."""
    return find_sender(get_settings().wakeup) is send_by_celery


def sends_anything() -> bool:
    """Return whether wake-ups are sent at all; otherwise sweeps execute what is due."""
    return find_sender(get_settings().wakeup) is not send_nothing


def is_failing() -> bool:
    """Return whether publishing this process's latest wake-up failed or takes too long."""
    return _sender.is_failing()


def count_waiting(queue_name: str) -> int:
    """Return approximately how many wake-ups wait in this process and in the broker's queue.

    Never blocks: it uses the broker's latest answer and asks again in the background. 0 when nothing is known, also
    when wake-ups are not sent by ``send_by_celery``.
    """
    if not uses_celery() or current_app.conf.task_always_eager:
        return 0
    return _sender.count_waiting(queue_name)


class _Sender:
    """Queue of what this process has yet to publish, and the broker's latest answers about its queues."""

    def __init__(self) -> None:
        self.queue: BackgroundQueue[WakeUp | Question] = BackgroundQueue(
            self._publish,
            on_error=self._note_failure,
            thread_name="sagas-wakeup",
            capacity=lambda: get_settings().wakeup_capacity,
        )
        self.forget()

    def forget(self) -> None:
        """Reset the state in a forked child."""
        self.queue.forget()
        self._asked: set[str] = set()
        self._answers: dict[str, tuple[int, float]] = {}
        self._warnings = RareWarnings(logger)

    def is_failing(self) -> bool:
        """Return whether the latest publishing failed or takes too long."""
        return self.queue.has_failed or self.queue.busy_seconds > STUCK_SECONDS

    def count_waiting(self, queue_name: str) -> int:
        """Return the known count, and ask the broker again unless a question is still open."""
        count, answered_at = self._answers.get(queue_name, (0, 0.0))
        is_old = time.monotonic() - answered_at > ANSWER_HOLDS_SWEEPS * get_settings().sweep_interval.total_seconds()
        unsent = self.queue.count()
        if queue_name not in self._asked:
            self._asked.add(queue_name)
            self.put(queue_name)
        return unsent + (0 if is_old else count)

    def put(self, item: WakeUp | Question) -> None:
        """Queue a wake-up or a question; drop it when the queue is full."""
        if not self.queue.put(item):
            if isinstance(item, str):
                self._asked.discard(item)
            self._warnings.warn("Wake-up queue full; wake-up dropped, the sweep will find the saga.")

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until every wake-up is published, at most ``seconds``."""
        self.queue.flush(seconds)

    def _publish(self, item: WakeUp | Question) -> None:
        if isinstance(item, str):
            self._asked.discard(item)
            self._answers[item] = _ask_broker(item), time.monotonic()
        else:
            current_app.tasks[TASK].apply_async(args=[str(item[0])], queue=item[1], retry=False, ignore_result=True)

    def _note_failure(self, _item: WakeUp | Question, error: BaseException, _may_repeat: bool) -> None:
        """Log that the wake-up is left to the sweep, whatever the broker's client has raised."""
        self._warnings.warn(f"Wake-up not published: {type(error).__name__}; the sweep will find the saga.")


def _ask_broker(queue_name: str) -> int:
    """Return how many messages of a queue no worker has taken."""
    declared = current_app.amqp.queues[queue_name]
    with current_app.pool.acquire(block=True) as connection, connection.channel() as channel:
        # Declared as for a message, because a passive declaration fails with Redis under a key prefix (kombu 5.7).
        answer = channel.queue_declare(
            queue=declared.name,
            durable=declared.durable,
            exclusive=declared.exclusive,
            auto_delete=declared.auto_delete,
            arguments=declared.queue_arguments,
        )
        return int(answer.message_count)


_sender = _Sender()
os.register_at_fork(after_in_child=_sender.forget)
atexit.register(_sender.flush)
