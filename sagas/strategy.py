"""Hand the messages of a task on as Celery does, but let no malformed one end the worker.

Celery takes a message apart before anything of the task runs, and an error there is one of the whole worker: it ends,
its broker gives the message back, and the next worker ends of it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker import strategy

# What taking a body apart raises that is not the list of three that it should be.
MALFORMED = (AttributeError, LookupError, TypeError, ValueError)


def take_carefully(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Be the strategy of a task.

    Returns: what handles a message; it raises what makes Celery drop a malformed one with one line in the log.
    """
    take = strategy.default(task, app, consumer, **options)

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        try:
            return take(message, body, ack, reject, callbacks, **more)
        except MALFORMED as error:
            raise InvalidTaskError(f"The message is malformed: {type(error).__name__}.") from error

    return handle
