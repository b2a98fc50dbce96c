"""Task strategy for Celery: survives malformed messages and lost acknowledgements.

Celery parses a message in the worker's main process. An error there ends the whole worker; the broker redelivers the
message, and it ends the next worker, too. So a message is examined before Celery sees it, and Celery gets a rewritten
one. An error raised after that is not the message's: with a pool that executes at once (``solo``), it is the task's.

If the broker dies before a message is acknowledged, kombu (5.7) counts it against the prefetch limit forever. A worker
at its limit stops reading from its broker, so it never notices the lost connection and never reconnects.
"""

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
    """Return the handler of a task's messages; it acknowledges malformed ones with one log line."""
    take = strategy.default(task, app, consumer, **options)
    strays = RareWarnings(logger)

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        def and_release(answer: Any) -> Callable[..., Any]:
            def answer_and_release(*arguments: Any, **named: Any) -> Any:
                try:
                    return answer(*arguments, **named)
                finally:
                    # The acknowledgement itself may only have been scheduled.
                    consumer.call_soon(release, message)

            return answer_and_release

        try:
            envelope = read_envelope(message, body)
        except MalformedMessage as error:
            drop(message, consumer, f"Malformed message for {task.name} dropped: {error}.")
            return None
        served = list_consumed(consumer)
        if envelope.queue and envelope.queue not in served:
            # Executed here, it would be sent again at once, forever.
            strays.warn(
                f"Wake-up for queue {envelope.queue!r} dropped: a worker of {', '.join(served)} received it."
                " Check task_routes (manage.py check) and the broker's bindings."
            )
            drop(message, consumer)
            return None
        clean = _write(message, envelope, task.name, served)
        return take(clean, None, and_release(ack), and_release(reject), callbacks, **more)

    return handle


def list_consumed(consumer: Any) -> list[str]:
    """Return the queues that a worker consumes from, or will after reconnecting, under all their names."""
    # The task consumer is None between two connections.
    present = consumer.task_consumer
    queues = consumer.app.amqp.queues.consume_from.values() if present is None else present.queues
    return sorted({name for queue in list(queues) for name in (queue.name, queue.alias) if name})


def drop(message: Any, consumer: Any, why: str = "") -> None:
    """Acknowledge a useless message, and log why."""
    if why:
        logger.warning(why)
    try:
        message.ack_log_error(logger, consumer.connection_errors)
    finally:
        consumer.call_soon(release, message)


def release(message: Any) -> None:
    """Remove a message from its channel's prefetch count although the broker got no acknowledgement.

    Only where kombu itself keeps the count, as for Redis. A broker that is alive redelivers the message eventually.
    """
    account = getattr(message.channel, "qos", None)
    if isinstance(account, virtual.QoS) and not message.acknowledged:
        virtual.QoS.ack(account, message.delivery_tag)


def _write(message: Any, envelope: Envelope, task: str, served: list[str]) -> Message:
    """Return the message that Celery gets: it shares only its delivery at the broker with the original."""
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
