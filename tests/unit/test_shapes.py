"""Functions of steps: the wrong shape is refused at declaration, the right one accepted in every form."""

import contextlib
import functools
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction

from sagas import Compensatable, DefinitionError, Misconfigured, Parallel, Pivot, Retriable, nothing_to_undo
from sagas.core.definition.function_shapes import find_mistake, require_finished
from sagas.core.definition.steps import Step


def act(step: Any) -> None:
    """Act."""


async def act_later(step: Any) -> None:
    """Act asynchronously."""


async def yield_later(step: Any) -> AsyncIterator[None]:
    """Yield asynchronously."""
    yield


def yield_one(step: Any) -> Iterator[None]:
    """Yield."""
    yield


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate like most decorators: pass everything on, and return the result."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    return call


def with_connection(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass one more argument to the function."""

    @functools.wraps(function)
    def call(step: Any) -> Any:
        return function(step, "connection")

    return call


class Adapter:
    """Class with a method of every kind."""

    def act(self, step: Any) -> None:
        """Act."""

    async def act_later(self, step: Any) -> None:
        """Act asynchronously."""

    @classmethod
    def of_class(cls, step: Any) -> None:
        """Act."""

    @classmethod
    async def of_class_later(cls, step: Any) -> None:
        """Act asynchronously."""

    @staticmethod
    def static(step: Any) -> None:
        """Act."""

    @staticmethod
    def static_yield(step: Any) -> Iterator[None]:
        """Yield."""
        yield

    made = functools.partialmethod(act)
    made_later = functools.partialmethod(act_later)


class Call:
    """Callable."""

    def __call__(self, step: Any) -> None:
        """Act."""


class CallLater:
    """Async callable."""

    async def __call__(self, step: Any) -> None:
        """Act."""


class CallAndYield:
    """Generator callable."""

    def __call__(self, step: Any) -> Iterator[None]:
        """Yield."""
        yield


WRONG: dict[str, tuple[Any, str]] = {
    "async": (act_later, "act_later is an async function"),
    "async generator": (yield_later, "yield_later is an async generator"),
    "generator": (yield_one, "yield_one is a generator"),
    "class": (Call, "Call is a class"),
    "type": (dict, "dict is a class"),
    "partial of async": (functools.partial(functools.partial(act_later)), "is an async function"),
    "partial of a generator": (functools.partial(yield_one), "is a generator"),
    "partial of a class": (functools.partial(Call), "is a class"),
    "async method": (Adapter().act_later, "is an async function"),
    "async class method": (Adapter.of_class_later, "is an async function"),
    "static generator": (Adapter.static_yield, "is a generator"),
    "staticmethod of a class body": (staticmethod(act_later), "is an async function"),
    "async partialmethod": (Adapter().made_later, "is an async function"),
    "async partialmethod of the class": (functools.partial(Adapter.made_later, Adapter()), "is an async function"),
    "async __call__": (CallLater(), "calls CallLater.__call__, which is an async function"),
    "yielding __call__": (CallAndYield(), "calls CallAndYield.__call__, which is a generator"),
    "decorated async": (logged(act_later), "calls act_later, which is an async function"),
    "twice decorated generator": (logged(logged(yield_one)), "calls yield_one, which is a generator"),
    "async in a transaction": (transaction.atomic(act_later), "calls act_later, which is an async function"),
    "cached async": (functools.lru_cache(act_later), "which is an async function"),
    "context manager": (contextlib.contextmanager(yield_one), "which is a generator"),
    "sync_to_async": (sync_to_async(act), "is an async function"),
    "async mock": (mock.AsyncMock(), "is an async function"),
    "classmethod of a class body": (classmethod(act), "classmethod objects are called through their class only"),
    "no argument": (lambda: None, "cannot be called with one StepContext as its only argument"),
    "two arguments": (lambda step, other: None, "cannot be called with one StepContext as its only argument"),
    "keyword only": (lambda *, step: None, "cannot be called with one StepContext as its only argument"),
    "method of no instance": (Adapter.act, "cannot be called with one StepContext as its only argument"),
    "full partial": (functools.partial(act, None), "cannot be called with one StepContext as its only argument"),
    "autospec of no argument": (mock.create_autospec(lambda: None), "cannot be called with one StepContext"),
    "no function": ("act", "'act' is not a function"),
}  # fmt: skip
PLACES: dict[str, Callable[[Any], Step]] = {
    "compensatable": lambda function: Compensatable(function, nothing_to_undo),
    "compensation": lambda function: Compensatable(act, function),
    "compensation alone": lambda function: Compensatable(compensation=function),
    "external compensation": lambda function: Compensatable(act, function, external=True),
    "pivot": Pivot,
    "external pivot": lambda function: Pivot(function, external=True),
    "retriable": Retriable,
}


@pytest.mark.parametrize("shape", WRONG)
def test_wrong_shape_is_refused_with_the_reason(shape: str) -> None:
    function, what = WRONG[shape]
    with pytest.raises(DefinitionError, match=r"^action: ") as refused:
        Pivot(function)
    assert what in str(refused.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", ["async", "generator", "class", "no argument"])
def test_wrong_shape_is_refused_in_every_place(place: str, shape: str) -> None:
    with pytest.raises(DefinitionError):
        PLACES[place](WRONG[shape][0])


def test_wrong_shape_is_refused_in_a_group() -> None:
    with pytest.raises(DefinitionError, match="async function"):
        Parallel(a=Compensatable(act, act), b=Compensatable(act, act_later))


def test_refusal_of_an_async_function_suggests_an_alternative() -> None:
    with pytest.raises(DefinitionError) as refused:
        Compensatable(act, act_later)
    assert str(refused.value) == (
        "compensation: act_later is an async function. Write a normal function, and call the async one inside it with"
        " asgiref.sync.async_to_sync: def act_later(step): return async_to_sync(act_later_async)(step)."
    )


RIGHT: dict[str, Any] = {
    "function": act,
    "lambda": lambda step: None,
    "more arguments with defaults": lambda step, other=1, *rest, **options: None,
    "any arguments": lambda *arguments: None,
    "partial": functools.partial(lambda other, step: None, 1),
    "bound method": Adapter().act,
    "class method": Adapter.of_class,
    "static method": Adapter.static,
    "staticmethod of a class body": staticmethod(act),
    "partialmethod": Adapter().made,
    "callable object": Call(),
    "builtin": print,
    "builtin method": [].append,
    "builtin without a signature": {}.get,
    "decorated": logged(act),
    "decorated with one argument less": with_connection(lambda step, connection: None),
    "in a transaction": transaction.atomic(act),
    "cached": functools.lru_cache(act),
    "async made normal": async_to_sync(act_later),
    "mock": mock.Mock(),
    "magic mock": mock.MagicMock(),
    "mock of a function": mock.Mock(spec=act),
    "autospec": mock.create_autospec(act),
    "partial of a mock": functools.partial(mock.Mock()),
    "object that answers to every name": mock.call,
}


@pytest.mark.parametrize("shape", RIGHT)
def test_right_shape_is_accepted_in_both_directions(shape: str) -> None:
    step = Compensatable(RIGHT[shape], RIGHT[shape])
    assert step.action is RIGHT[shape]
    assert step.compensation is RIGHT[shape]


def test_function_that_wraps_itself_is_inspected_once() -> None:
    def act_again(step: Any) -> None:
        """Act."""

    act_again.__wrapped__ = act_again  # type: ignore[attr-defined]
    assert find_mistake(act_again) == ""


@pytest.mark.parametrize("made", [act_later, yield_one, yield_later])
def test_unfinished_result_is_closed_without_a_warning(made: Callable[[Any], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Misconfigured, match=r"^Step pay returned a .*, which is never run\."):
            require_finished(made(None), "Step pay")


@pytest.mark.parametrize("result", [None, {}, {"a": 1}, [], "text"])
def test_finished_result_is_passed_on(result: Any) -> None:
    assert require_finished(result, "Step pay") is result
