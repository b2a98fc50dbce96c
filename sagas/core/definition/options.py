"""Options of steps and definitions, checked when their module is imported. Pure: no Django import.

Raises: DefinitionError in every function, with the given value and what is allowed.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from ...exceptions import DefinitionError, StepSignal
from ..retry import RetryPolicy
from . import function_shapes

StepFunction = Callable[..., "dict[str, Any] | None"]
HookFunction = Callable[[Any], Any]
KEY_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_KEY_CHARS = 120
QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
YEAR = timedelta(days=366)
# PostgreSQL stores time-outs as milliseconds in a 31-bit integer: 24 days and 20 hours.
MAX_LOCAL_TIMEOUT = timedelta(days=24)
MAX_DEADLINE = 10 * YEAR


def check_function(value: Any, option: str, *, optional: bool) -> StepFunction | None:
    """Return a step function, once checked that it can be called with one StepContext; None if optional."""
    if value is None and optional:
        return None
    if value is None:
        raise DefinitionError(f"{option} is missing. Give a function that takes one StepContext.")
    if mistake := function_shapes.find_mistake(value):
        raise DefinitionError(f"{option}: {mistake}")
    return value  # type: ignore[no-any-return]


def check_hook(value: Any, option: str) -> HookFunction | None:
    """Return a hook, once checked that it takes one argument, or None when none is declared."""
    if value is None:
        return None
    if mistake := function_shapes.find_mistake(value, takes="one SagaClosed"):
        raise DefinitionError(f"{option}: {mistake}")
    return value  # type: ignore[no-any-return]


def check_exceptions(values: Any, option: str) -> tuple[type[Exception], ...]:
    """Return the exception classes that mean a refusal, once checked."""
    if isinstance(values, str | type) or not isinstance(values, Iterable):
        raise DefinitionError(f"{option} takes a list of exception classes, not {values!r}.")
    checked = tuple(values)
    for value in checked:
        if not (isinstance(value, type) and issubclass(value, Exception)):
            raise DefinitionError(f"{option} takes exception classes, not {value!r}.")
        if value in (Exception, BaseException):
            raise DefinitionError(
                f"{option} must name the participant's own exceptions; {value.__name__} matches every error."
            )
        if issubclass(value, StepSignal):
            raise DefinitionError(f"{option}: {value.__name__} is an engine exception, not a refusal.")
    return checked


def check_business_keys(values: Any, action: StepFunction | None) -> tuple[tuple[str, str], ...]:
    """Return pairs of a business key's name and the name of its value in the action's result."""
    if values is not None and not isinstance(values, Mapping):
        raise DefinitionError(f"business_keys must be a dict, such as {{'payment': 'id'}}, not {values!r}.")
    pairs = tuple((values or {}).items())
    if pairs and action is None:
        raise DefinitionError("business_keys are read from an action's result; without one, pass them to start.")
    for name, field_name in pairs:
        if not isinstance(name, str) or not KEY_NAME.fullmatch(name):
            raise DefinitionError(f"business_keys: {name!r} is not a lower-case identifier of at most 40 characters.")
        if not isinstance(field_name, str) or not field_name:
            raise DefinitionError(f"business_keys: {name!r} must name a value of the result, not {field_name!r}.")
    return pairs


def check_duration(value: Any, option: str, *, longest: timedelta = YEAR) -> None:
    """Check a duration; None stands for a default."""
    if value is None:
        return
    if not isinstance(value, timedelta) or value <= timedelta():
        raise DefinitionError(f"{option} must be a positive timedelta, not {value!r}.")
    if value > longest:
        raise DefinitionError(f"{option} is {value}; at most {longest.days} days are possible.")


def check_timeout(value: Any, option: str, *, is_local: bool) -> None:
    """Check the time-out of an attempt. PostgreSQL enforces a local step's, which has a lower limit."""
    check_duration(value, option, longest=MAX_LOCAL_TIMEOUT if is_local else YEAR)


def check_policy(value: Any, option: str) -> None:
    """Check a retry policy; None stands for the project's default."""
    if value is not None and not isinstance(value, RetryPolicy):
        raise DefinitionError(f"{option} must be a RetryPolicy, such as RetryPolicy(attempts=3), not {value!r}.")


def check_flag(value: Any, option: str) -> None:
    """Check a boolean, because a text such as "no" would count as true."""
    if not isinstance(value, bool):
        raise DefinitionError(f"{option} must be True or False, not {value!r}.")


def check_participant(value: Any) -> None:
    """Check the label of an app; a system check verifies that it is installed."""
    if value is not None and not (isinstance(value, str) and LABEL.fullmatch(value)):
        raise DefinitionError(f"participant must be the label of an app, such as 'payments', not {value!r}.")


def check_queue(value: Any) -> None:
    """Check the name of a queue; a system check verifies that Celery knows it."""
    if value is not None and not (isinstance(value, str) and QUEUE_NAME.fullmatch(value)):
        raise DefinitionError(
            f"queue must be a name of at most 60 letters, digits, dots, hyphens and underscores, not {value!r}."
        )
