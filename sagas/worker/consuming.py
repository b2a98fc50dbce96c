"""Patches of a worker's main process: messages that belong to no task, late polling, blocking waits.

Celery (5.7) looks up a message's task before that task's strategy can examine the message. A task name that is not a
text ends the worker there, and so does a message without an id for an unknown task.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from celery.concurrency import thread
from kombu.utils import functional

from . import envelopes
from .celery_strategy import drop


def guard_handler(consumer: Any) -> None:
    """Make a consumer drop messages whose task Celery cannot look up. One call covers all its connections."""
    create = consumer.create_task_handler
    if getattr(create, "is_guarded", False):
        return

    def create_guarded(*arguments: Any, **named: Any) -> Callable[[Any], Any]:
        handle = create(*arguments, **named)

        def handle_guarded(message: Any) -> Any:
            if fault := find_fault(message, consumer.strategies):
                drop(message, consumer, f"Malformed message dropped: {fault}.")
                return None
            return handle(message)

        return handle_guarded

    create_guarded.is_guarded = True  # type: ignore[attr-defined]
    consumer.create_task_handler = create_guarded


def wake_after_tasks(consumer: Any) -> None:
    """Make a consumer fetch the next message as soon as a thread of its pool is free.

    With ``worker_disable_prefetch`` it takes no message while no thread is free, and nothing notifies it when one is:
    it sleeps a whole second after each task.
    """
    pool, hub = consumer.pool, consumer.hub
    if hub is None or not isinstance(pool, thread.TaskPool) or "on_apply" in vars(pool):
        return
    apply = pool.on_apply

    def apply_and_wake(*arguments: Any, **named: Any) -> Any:
        result = apply(*arguments, **named)
        result.f.add_done_callback(lambda _future: hub.call_soon(_do_nothing))
        return result

    pool.on_apply = apply_and_wake  # type: ignore[method-assign]


def share_thread_while_waiting() -> None:
    """Make kombu's waits for the broker yield to the greenlets of a pool.

    kombu (5.7) is imported before gevent patches ``time.sleep``, so it blocks the whole process between two tries.
    """
    functional.sleep = time.sleep


def _do_nothing() -> None:
    """Do nothing; scheduling this call wakes the event loop."""


def find_fault(message: Any, known_tasks: Mapping[str, Any]) -> str:
    """Return why a message belongs to no task; empty: Celery or its task decides."""
    headers = message.headers
    if not isinstance(headers, Mapping):
        return "its headers are not a mapping"
    facts = headers
    if "task" not in headers:
        try:
            facts = message.decode()  # protocol 1 keeps everything in the body
        except Exception:  # noqa: BLE001 - Celery does the same next, and drops what cannot be decoded
            return ""
        if not isinstance(facts, Mapping) or "task" not in facts:
            return ""
    task = facts["task"]
    if not isinstance(task, str):
        return f"its task is a {type(task).__name__}"
    if task not in known_tasks and not (isinstance(facts.get("id"), str) and envelopes.is_text(task)):
        return "it has no id, and its task is unknown"
    return ""
