"""Celery applications: which one publishes from here, and where its routes would send a wake-up."""

from typing import Any
from uuid import UUID

from celery import current_app
from celery.app import default_app
from celery.exceptions import QueueNotFound

TASK = "sagas.advance"
CONTENT_TYPE = "application/json"  # of every message of the engine
EXAMPLE = str(UUID(int=0))


def read_names() -> tuple[str, str | None]:
    """Return the names of this thread's application and of the default one, None if that is missing or the same."""
    current = current_app._get_current_object()  # noqa: SLF001 - the only way from a proxy to its object
    default = default_app._get_current_object()  # noqa: SLF001
    return str(current.main), None if default is None or default is current else str(default.main)


def is_fallback() -> bool:
    """Return whether the application is the fallback that Celery creates when the project has none."""
    app = current_app._get_current_object()  # noqa: SLF001
    return app.main == "default" and not app.fixups


def find_route_fault(queue: str) -> str:
    """Return what would happen to a wake-up that does not reach its queue; an empty string if it does."""
    app = current_app
    # A separate set of queues, because a lookup adds the queue, and a plain worker consumes from all that it has.
    queues = app.amqp.Queues(app.conf.task_queues)
    router = app.amqp.Router(queues=queues)
    try:
        options = router.route({"queue": queue}, TASK, [EXAMPLE], {})
    except QueueNotFound:
        return ""  # E012
    except Exception as error:  # noqa: BLE001 - the project's own routers may raise anything
        return f"are lost: a router of task_routes raises {type(error).__name__}"
    return _compare(queue, options)


def _compare(name: str, options: dict[str, Any]) -> str:
    queue = options["queue"]
    if name not in (queue.name, queue.alias):
        return f"are sent to queue {queue.name!r} by task_routes"
    exchange, key = options.get("exchange"), options.get("routing_key")
    kind = options.get("exchange_type") or queue.exchange.type
    if (not exchange or not key) and kind == "direct":
        return ""
    own_exchange, own_key = queue.exchange.name, queue.routing_key
    sent_to = exchange or own_exchange, key or own_key
    if sent_to == (own_exchange, own_key):
        return ""
    return f"are sent to exchange {sent_to[0]!r} with routing key {sent_to[1]!r} by task_routes"
