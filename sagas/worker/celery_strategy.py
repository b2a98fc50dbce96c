"""Give Celery the messages of a task in a form that cannot hurt the worker, and do not let it go deaf.

Celery takes a message apart in the worker's main process, and an error there is one of the whole worker: it ends, its
broker gives the message back, and the next worker ends of it too. So a message is examined before Celery sees it, and
what Celery sees is written anew. Whatever is raised after that is no fault of the message: with a pool that executes
at once (``solo``), it is the task's.

Where the broker dies before a message is acknowledged, kombu (5.7) keeps it in the account of what the worker may have
at once, for ever. A worker that may have no more stops reading from its broker, so it never learns that the connection
is gone, nor makes another one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.worker import strategy
from kombu import Message
from kombu.transport import virtual

from ..core.rare_warnings import RareWarnings
from ..engine.notify.celery_apps import CONTENT_TYPE
from .envelopes import Envelope, MalformedMessage, read_envelope

logger = logging.getLogger(__name__)


def take_carefully(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return what handles the messages of a task: malformed ones are acknowledged with one line in the log."""
    take = strategy.default(task, app, consumer, **options)
    strays = RareWarnings(logger)

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        def and_release(answer: Any) -> Callable[..., Any]:
            def answer_and_release(*arguments: Any, **named: Any) -> Any:
                try:
                    return answer(*arguments, **named)
                finally:
                    # The answer, too, may only have been put off.
                    consumer.call_soon(release, message)

            return answer_and_release

        try:
            envelope = read_envelope(message, body)
        except MalformedMessage as error:
            drop(message, consumer, f"Malformed message for {task.name} dropped: {error}.")
            return None
        served = list_consumed(consumer)
        if envelope.queue and envelope.queue not in served:
            # Executed here, they would come back at once for ever.
            strays.warn(
                f"Wake-up for queue {envelope.queue!r} dropped: it came to a worker of {', '.join(served)}. Does"
                " task_routes, or a binding at the broker, send it elsewhere? manage.py check tells."
            )
            drop(message, consumer)
            return None
        clean = _write(message, envelope, task.name, served)
        return take(clean, None, and_release(ack), and_release(reject), callbacks, **more)

    return handle


def list_consumed(consumer: Any) -> list[str]:
    """Return the queues that a worker consumes from, or will when it is connected again, under all their names."""
    # There is none between two connections.
    present = consumer.task_consumer
    queues = consumer.app.amqp.queues.consume_from.values() if present is None else present.queues
    return sorted({name for queue in list(queues) for name in (queue.name, queue.alias) if name})


def drop(message: Any, consumer: Any, why: str = "") -> None:
    """Acknowledge a message that is of no use, and log why."""
    if why:
        logger.warning(why)
    try:
        message.ack_log_error(logger, consumer.connection_errors)
    finally:
        consumer.call_soon(release, message)


def release(message: Any) -> None:
    """Strike a message off its channel's account although the broker could not be told that it was taken.

    Only where kombu keeps the account itself, as for Redis. A broker that lives gives the message out again, one day.
    """
    account = getattr(message.channel, "qos", None)
    if isinstance(account, virtual.QoS) and not message.acknowledged:
        virtual.QoS.ack(account, message.delivery_tag)


def _write(message: Any, envelope: Envelope, task: str, served: list[str]) -> Message:
    """Return the message that Celery gets: it has the other's place at the broker, and nothing else of it."""
    delivery = message.delivery_info if isinstance(message.delivery_info, dict) else {}
    routing_key = delivery.get("routing_key")
    return Message(
        body=envelope.as_body(),
        content_type=CONTENT_TYPE,
        content_encoding="utf-8",
        headers=envelope.as_headers(task, served),
        properties={"correlation_id": envelope.message_id},
        delivery_info={
            "exchange": "",
            "routing_key": routing_key if isinstance(routing_key, str) else "",
            "redelivered": delivery.get("redelivered") is True,
        },
        channel=message.channel,
        delivery_tag=message.delivery_tag,
        accept=message.accept,
    )
