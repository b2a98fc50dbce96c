"""Handlers: what a participant does about an event. Pure: no Django import until the registry is asked for an app.

One handler for each consumer and event: two effects of one event in one participant belong into one transaction.
"""

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from ..exceptions import DefinitionError
from .declaration import EventType, type_of

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Received:
    """Envelope of an event that is being handled."""

    id: str
    """CloudEvents id; unique for the source."""
    type: str
    """Stored name of the event."""
    source: str
    """Participant and key of the sender: ``/shop/payments/ORD-1``."""
    key: str
    """Key; empty for unordered events."""
    consumer: str
    """Participant that handles it."""
    correlation_id: str
    """Id of the whole flow."""
    causation_id: str
    """Id of the event that its sender was handling; empty if unknown."""
    traceparent: str
    """W3C trace context; empty if unknown."""
    recorded_at: datetime | None
    """When its sender wrote it, by the sender's clock; None for foreign events without a time."""
    attempt: int
    """Number of this run, from 1."""


@dataclass(frozen=True, kw_only=True)
class Handler:
    """Function of one consumer for one event."""

    event: EventType
    """What it handles."""
    function: Callable[..., Any]
    """The decorated function."""
    consumer: str
    """App label of the consumer; empty: the app that contains the module."""
    undoes: bool
    """Whether it undoes something, so that no failed event before it holds it."""
    takes_envelope: bool
    """Whether it takes the envelope as its second argument."""

    @property
    def name(self) -> str:
        """Dotted path of the function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def __call__(self, event: Any, received: Received) -> None:
        """Run the function."""
        self.function(event, received) if self.takes_envelope else self.function(event)


_handlers: list[Handler] = []
# Envelope of the event that the current thread is handling.
current: ContextVar[Received | None] = ContextVar("sagas_current_event", default=None)


def on(event_class: type, *, consumer: str = "", undoes: bool = False) -> Callable[[HandlerT], HandlerT]:
    """Register the decorated function as the handler of an event.

    It takes the event, and the envelope (``Received``) if it has a second argument. It runs in a transaction of its
    participant's database together with the inbox row, and must have no other effect than rows and ``publish``.
    ``consumer``: app label of the participant, by default the app of the module. ``undoes``: events that undo
    something, such as ``OrderCancelled``, are never held behind a failed event of their key.
    Raises: DefinitionError at import.
    """
    declared = type_of(event_class)

    def register(function: HandlerT) -> HandlerT:
        _handlers.append(
            Handler(
                event=declared,
                function=function,
                consumer=consumer,
                undoes=undoes,
                takes_envelope=_count_arguments(function) == 2,
            )
        )
        return function

    return register


def list_handlers() -> list[Handler]:
    """Return all handlers, in the order of their registration."""
    return list(_handlers)


def forget(function: Callable[..., Any]) -> None:
    """Remove the handlers of a function; for tests."""
    _handlers[:] = [handler for handler in _handlers if handler.function is not function]


def _count_arguments(function: Callable[..., Any]) -> int:
    """Return how many positional arguments a handler takes.

    Raises: DefinitionError unless it is a plain function of one or two.
    """
    name = getattr(function, "__qualname__", repr(function))
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(
            f"Handler {name} is async or a generator, so nothing would run: make it a plain function."
        )
    parameters = inspect.signature(function).parameters.values()
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [one for one in positional if one.default is one.empty]
    keywords = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    if not 1 <= len(positional) <= 2 or keywords or not required:
        raise DefinitionError(f"Handler {name} must take the event, or the event and its envelope: (event, received).")
    return len(required)
