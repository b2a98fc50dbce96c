"""Hand the messages of a task on as Celery does, but let none end the worker, or leave it deaf.

Celery takes a message apart before anything of the task runs, and an error there is one of the whole worker: it ends,
its broker gives the message back, and the next worker ends of it too.

Where the broker dies before a message is acknowledged, kombu (5.7) keeps it in the account of what the worker may have
at once, for ever. A worker that may have no more stops reading from its broker, so it never learns that the connection
is gone, nor makes another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker import strategy
from kombu.transport import virtual

# What taking a body apart raises that is not the list of three that it should be.
MALFORMED = (AttributeError, LookupError, TypeError, ValueError)


def take_carefully(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Be the strategy of a task.

    Returns: what handles a message; it raises what makes Celery drop a malformed one with one line in the log.
    """
    take = strategy.default(task, app, consumer, **options)

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        def and_let_go(answer: Any) -> Callable[..., Any]:
            def answer_and_let_go(*arguments: Any, **named: Any) -> Any:
                try:
                    return answer(*arguments, **named)
                finally:
                    # The answer, too, may only have been put off.
                    consumer.call_soon(let_go, message)

            return answer_and_let_go

        try:
            return take(message, body, and_let_go(ack), and_let_go(reject), callbacks, **more)
        except MALFORMED as error:
            raise InvalidTaskError(f"The message is malformed: {type(error).__name__}.") from error

    return handle


def let_go(message: Any) -> None:
    """Strike a message off its channel's account although the broker could not be told that it was taken.

    Only where kombu keeps the account itself, as for Redis. A broker that lives gives the message out again, one day.
    """
    account = getattr(message.channel, "qos", None)
    if isinstance(account, virtual.QoS) and not message.acknowledged:
        virtual.QoS.ack(account, message.delivery_tag)
