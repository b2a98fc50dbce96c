"""Celery task that receives wake-ups. A message carries only the id of a saga, an intent or a bulk."""

import logging
from typing import Any
from uuid import UUID

from celery import Task, shared_task

from .engine import advance as engine
from .engine.notify.celery_apps import TASK
from .intents import performing
from .operators.bulk import runner
from .worker import lifecycle
from .worker.envelopes import QUEUE_HEADER, SERVED_HEADER

logger = logging.getLogger(__name__)


class WakeUpTask(Task):
    """Task whose messages are always JSON, whatever the project's serializer, and name the woken queue."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Publish a wake-up."""
        headers = {**(options.pop("headers", None) or {}), QUEUE_HEADER: options.get("queue")}
        publish: Any = super().apply_async
        return publish(args, kwargs, **{**options, "headers": headers, "serializer": "json"})

    @staticmethod
    def work_on(wanted: UUID, queues: frozenset[str] | None = None) -> None:
        """Advance a saga, an intent or a bulk as far as it can go now; ``queues`` are those served here (None: all)."""
        if runner.is_bulk_id(wanted):
            runner.advance(wanted, should_stop=lifecycle.is_shutting_down)
            return
        if performing.is_intent_id(wanted):
            performing.perform(
                wanted, queues=queues, worker=lifecycle.process_name(), should_stop=lifecycle.is_shutting_down
            )
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
    """Advance a saga, an intent or a bulk; repeated, unknown and malformed ids are harmless."""
    try:
        wanted = UUID(saga_id)
    except (ValueError, TypeError, AttributeError):
        logger.warning("Wake-up with a malformed saga id ignored.")
        return
    # Set by the main process, which knows the present queues; a child knows those of the moment it was forked.
    served = advance.request.get(SERVED_HEADER)
    try:
        advance.work_on(wanted, queues=lifecycle.served_queues() if served is None else frozenset(served))
    except Exception:
        raise
    except BaseException as error:
        if lifecycle.must_end_with(error):
            raise
        # In a pool without children the exception would end the whole worker; the attempt is already recorded.
        logger.exception("A step tried to end its worker.", extra={"saga_id": saga_id})
    finally:
        lifecycle.release_connections()
