"""Shapes of a project's functions: step functions and hooks. Pure: no Django import.

The engine calls each function with one argument and takes what it returns. A function that returns a coroutine or a
generator has done nothing yet, so it is refused where it is declared.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from asgiref.sync import AsyncToSync, iscoroutinefunction

from ...exceptions import Misconfigured

MAX_LAYERS = 50  # far more decorators than code stacks; it also ends an object that wraps itself
UNREADABLE = (ValueError, TypeError, NameError, AttributeError)  # errors of inspect.signature

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
    """Return why a value is not a function of this many positional arguments, and what to do instead.

    A callable whose signature cannot be read is accepted.
    Returns: an empty string when the value is such a function.
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
    """Return the result of a function, unless it is a coroutine or a generator that has not run yet.

    It is closed then, so that Python does not warn that it was never awaited.
    Raises: Misconfigured.
    """
    if not (inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result)):
        return result
    with suppress(Exception):  # closing fails if it runs already; it is refused all the same
        getattr(result, "close", getattr(result, "cancel", lambda: None))()
    raise Misconfigured(
        f"{name} returned a {type(result).__name__}, which is never run. Call it in the function itself"
        " (asgiref.sync.async_to_sync for async code) and return its result."
    )


def name_of(value: Any) -> str:
    """Return the name of a function as in its code, for messages."""
    if isinstance(value, functools.partial | functools.partialmethod):
        return f"partial({name_of(value.func)})"
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else repr(value)


def _is(is_wrong: Callable[[Any], bool], layer: Any) -> bool:
    try:
        return bool(is_wrong(layer))
    except (TypeError, AttributeError):  # a mock of a function without a code object
        return False


def _short(name: str) -> str:
    """Return the last part of a name if it is a valid function name, else ``act``."""
    last = name.rpartition(".")[2]
    return last if last.isidentifier() else "act"


def _find_why_not_callable(value: Any, takes: str) -> str:
    if isinstance(value, classmethod | functools.partialmethod):
        kind = type(value).__name__
        return f"{kind} objects are called through their class only. Declare the step where the class is complete."
    return f"{value!r} is not a function. Give a function that takes {takes}."


def _unwrap(value: Any) -> Iterator[Any]:
    """Yield a callable and the callables that it wraps: below partials, methods, decorators and ``__call__``."""
    for _ in range(MAX_LAYERS):
        yield value
        inner = _find_inner(value)
        if inner is None:
            return
        value = inner


def _find_inner(value: Any) -> Any:
    if isinstance(value, AsyncToSync):  # runs what it wraps to completion
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
        # The signature of the callable itself, because a decorator may add or remove arguments.
        signature = inspect.signature(value, follow_wrapped=False)
    except UNREADABLE:
        return ""
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        only = " as its only argument" if arguments == 1 else ""
        return f"{name}{signature} cannot be called with {takes}{only}: {error}."
    return ""
