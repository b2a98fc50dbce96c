"""Receive wake-ups. A message says "look at this saga", or at this bulk, and nothing else that matters."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from celery import Task, shared_task

from .engine import advance as engine
from .engine.notify.celery_apps import TASK
from .operators.bulk import runner
from .worker import lifecycle
from .worker.envelopes import QUEUE_HEADER, SERVED_HEADER

logger = logging.getLogger(__name__)


class WakeUpTask(Task):
    """A task whose messages are JSON whatever the project's own are, and name the queue that was woken."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Publish a wake-up."""
        headers = {**(options.pop("headers", None) or {}), QUEUE_HEADER: options.get("queue")}
        publish: Any = super().apply_async
        return publish(args, kwargs, **{**options, "headers": headers, "serializer": "json"})

    @staticmethod
    def look(wanted: UUID, queues: frozenset[str] | None = None) -> None:
        """Do what can be done now for a saga or a bulk. ``queues``: those that are served here; None: all."""
        if runner.is_bulk_id(wanted):
            runner.advance(wanted, should_stop=lifecycle.is_shutting_down)
            return
        engine.advance(wanted, queues=queues, worker=lifecycle.process_name(), should_stop=lifecycle.is_shutting_down)


@shared_task(
    base=WakeUpTask,
    name=TASK,
    ignore_result=True,
    acks_late=False,
    serializer="json",
    Strategy="sagas.worker.celery_strategy:take_carefully",
)
def advance(saga_id: str) -> None:
    """Look at a saga or a bulk; repeats, strangers and malformed ids are harmless."""
    try:
        wanted = UUID(saga_id)
    except (ValueError, TypeError, AttributeError):
        logger.warning("Wake-up with a malformed saga id ignored.")
        return
    # Written by the main process, which knows best: a child has the queues of the moment at which it was forked.
    served = advance.request.get(SERVED_HEADER)
    try:
        advance.look(wanted, queues=lifecycle.served_queues() if served is None else frozenset(served))
    except Exception:
        raise
    except BaseException as error:
        if lifecycle.must_end_with(error):
            raise
        # A pool without children can lose nothing but the whole worker, and the attempt is recorded by now.
        logger.exception("A step tried to end its worker.", extra={"saga_id": saga_id})
    finally:
        lifecycle.release_connections()
