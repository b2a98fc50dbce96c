"""Shape of the functions that a project gives the engine: functions of steps and hooks. Pure: no Django import.

The engine calls each of them with one argument and takes what it returns. A function that only prepares a coroutine
or a generator returns at once and has done nothing, so it is refused where it is declared.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from asgiref.sync import AsyncToSync, iscoroutinefunction

from ...exceptions import Misconfigured

MAX_LAYERS = 50  # far more decorators than anybody stacks; an object that wraps itself ends here
UNREADABLE = (ValueError, TypeError, NameError, AttributeError)  # what inspect.signature raises where there is none

AWAIT_INSIDE = (
    "Write a normal function, and call the async one inside it with asgiref.sync.async_to_sync:"
    " def {name}(step): return async_to_sync({name}_async)(step)."
)
RETURN_INSTEAD = "Its body would never run: return a result instead of yielding."
KINDS: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (inspect.isclass, "a class", "Give a function that takes {takes}, or an instance with __call__."),
    (inspect.isasyncgenfunction, "an async generator", RETURN_INSTEAD),
    (iscoroutinefunction, "an async function", AWAIT_INSIDE),
    (inspect.isgeneratorfunction, "a generator", RETURN_INSTEAD),
)


def find_mistake(value: Any, *, takes: str = "one StepContext", arguments: int = 1) -> str:
    """Return why a value cannot serve as a function that takes this many positional arguments, with what to do.

    A callable whose signature cannot be read is accepted.
    Returns: an empty text when it can.
    """
    if not callable(value):
        return _find_why_not_callable(value, takes)
    name = name_of(value)
    for layer in _unwrap(value):
        for is_wrong, kind, advice in KINDS:
            if _is(is_wrong, layer):
                what = f"is {kind}" if layer is value else f"calls {name_of(layer)}, which is {kind}"
                return f"{name} {what}. {advice.format(name=_short(name), takes=takes)}"
    return _find_wrong_signature(value, name, takes, arguments)


def require_finished(result: Any, name: str) -> Any:
    """Return what a function returned, unless that is work which nobody has done yet.

    A coroutine or a generator is closed, so that Python does not warn of one that was never awaited.
    Raises: Misconfigured.
    """
    if not (inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result)):
        return result
    with suppress(Exception):  # closing something that runs already fails; the verdict is the same
        getattr(result, "close", getattr(result, "cancel", lambda: None))()
    raise Misconfigured(
        f"{name} returned a {type(result).__name__}, which nobody runs. Call it in the function itself"
        " (asgiref.sync.async_to_sync for async code) and return its result."
    )


def name_of(value: Any) -> str:
    """Return what a function is called in its code, for messages."""
    if isinstance(value, functools.partial | functools.partialmethod):
        return f"partial({name_of(value.func)})"
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else repr(value)


def _is(is_wrong: Callable[[Any], bool], layer: Any) -> bool:
    try:
        return bool(is_wrong(layer))
    except (TypeError, AttributeError):  # a mock that poses as a function, without a function's code
        return False


def _short(name: str) -> str:
    """Return the last part of a name if it can be the name of a function."""
    last = name.rpartition(".")[2]
    return last if last.isidentifier() else "act"


def _find_why_not_callable(value: Any, takes: str) -> str:
    if isinstance(value, classmethod | functools.partialmethod):
        kind = type(value).__name__
        return f"{kind} objects are called through their class only. Declare the step where the class is complete."
    return f"{value!r} is no function. Give a function that takes {takes}."


def _unwrap(value: Any) -> Iterator[Any]:
    """Yield a callable and what it calls in the end: below partials, methods, decorators and ``__call__``."""
    for _ in range(MAX_LAYERS):
        yield value
        inner = _find_inner(value)
        if inner is None:
            return
        value = inner


def _find_inner(value: Any) -> Any:
    if isinstance(value, AsyncToSync):  # runs what it wraps to its end
        return None
    if isinstance(value, functools.partial | functools.partialmethod):
        return value.func
    if inspect.ismethod(value) or isinstance(value, staticmethod | classmethod):
        return value.__func__
    own = getattr(value, "__dict__", None)
    attributes = own if isinstance(own, Mapping) else {}
    # A method made by functools.partialmethod; Python 3.13 renamed the attribute.
    for name in ("__wrapped__", "__partialmethod__", "_partialmethod"):
        if attributes.get(name) is not None:
            return attributes[name]
    if inspect.isclass(value) or inspect.isroutine(value):
        return None
    return inspect.getattr_static(type(value), "__call__", None)


def _find_wrong_signature(value: Any, name: str, takes: str, arguments: int) -> str:
    try:
        # Of what is called, not of what it wraps: a decorator may add or take away arguments.
        signature = inspect.signature(value, follow_wrapped=False)
    except UNREADABLE:
        return ""
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        only = " as its only argument" if arguments == 1 else ""
        return f"{name}{signature} cannot be called with {takes}{only}: {error}."
    return ""
