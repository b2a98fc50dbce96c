"""Receive rings. A message says "look at this saga", or at this bulk, and nothing else that matters."""

from __future__ import annotations

import logging
from uuid import UUID

from celery import shared_task

from . import bulk_running, engine, worker

logger = logging.getLogger(__name__)


@shared_task(
    name="sagas.advance",
    ignore_result=True,
    acks_late=False,
    serializer="json",
    Strategy="sagas.strategy:take_carefully",
)
def advance(saga_id: str) -> None:
    """Look at a saga or a bulk; repeats, strangers and malformed ids are harmless."""
    try:
        wanted = UUID(saga_id)
    except (ValueError, TypeError, AttributeError):
        logger.warning("Ring with a malformed saga id ignored.")
        return
    if bulk_running.is_bulk_id(wanted):
        bulk_running.advance(wanted, should_stop=worker.is_shutting_down)
        return
    engine.advance(
        wanted, queues=worker.served_queues(), worker=worker.process_name(), should_stop=worker.is_shutting_down
    )
