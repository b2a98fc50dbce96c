"""Say what went wrong, in one tree.

::

    SagaError
    ├── DefinitionError          a definition contradicts itself (raised at import)
    ├── InputRefused             the input of a new saga is not what the definition declares
    ├── StepSignal               raised *by* step functions to tell the engine how an attempt ended
    │   ├── RetryLater           nothing happened; try again
    │   ├── InProgress           the participant is still working; ask again
    │   ├── OutcomeUnknown       it may have happened
    │   ├── Misconfigured        nothing happened; a person must change something first
    │   └── Fenced               the participant found the tombstone of this step key
    ├── TransactionEnded         a local step committed or rolled back the transaction that it runs in
    ├── ResultRedacted           a step reads what was taken out of an earlier step's result
    ├── SagaNotFound             no saga has this id
    ├── StepNotFound             a saga has no step of this name
    ├── BulkNotFound             no bulk has this id
    ├── DefinitionNotFound       the code has no such definition or version
    ├── StaleWrite               a guarded write met a row that had moved (engine internal)
    └── OperationRefused         an operator's action is not possible now
        ├── StaleRevision        the saga moved since the operator looked at it
        ├── PermissionRefused    this person may not do this
        └── BadRequest           a reason, a step or a value is missing or malformed

Pure: no Django import.
"""

from __future__ import annotations

import math
from datetime import timedelta


class SagaError(Exception):
    """Be the root of everything that this package raises."""


class DefinitionError(SagaError):
    """Report a definition that contradicts itself, when its module is imported."""


class InputRefused(SagaError):
    """Report an input that cannot be stored or is not what the definition declares."""


class StepSignal(SagaError):
    """Be raised by a step function to say how its attempt ended."""


class RetryLater(StepSignal):
    """Say that nothing happened and that the step should be tried again.

    Units: ``after`` in seconds, or a timedelta; it raises the delay of the retry policy, never lowers it.
    """

    def __init__(self, message: str = "", *, after: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.after_seconds = as_seconds(after)


class InProgress(StepSignal):
    """Say that the participant has accepted the work and has not finished it.

    Units: ``poll_after`` in seconds, or a timedelta: when to ask again.
    """

    def __init__(self, message: str = "", *, poll_after: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.after_seconds = as_seconds(poll_after)


class OutcomeUnknown(StepSignal):
    """Say that the step may have happened and that only asking again can tell."""


class Misconfigured(StepSignal):
    """Say that nothing happened and nothing will until a person changes something."""


class Fenced(StepSignal):
    """Say that the participant holds a tombstone for this step key: its compensation came first."""


class WorkerDied(BaseException):
    """Stand for the death of a worker in tests: what it leaves is all that was committed, so nothing is recorded."""


class ResultRedacted(SagaError):
    """Report a step that reads what was taken out of an earlier result before it was stored; a person must help."""


class TransactionEnded(SagaError):
    """Report a local step that ended its transaction itself: what it wrote and its record do not commit together."""


class SagaNotFound(SagaError):
    """Report an id that belongs to no saga."""


class StepNotFound(SagaError, KeyError):
    """Report a step name that a saga does not have; names those that it has."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class BulkNotFound(SagaError):
    """Report an id that belongs to no bulk."""


class DefinitionNotFound(SagaError):
    """Report a definition name or version that the code does not have."""


class StaleWrite(SagaError):
    """Report a guarded write that met a row which had moved; the transaction must be rolled back."""


class OperationRefused(SagaError):
    """Report an operator's action that is not possible now, with the facts."""


class StaleRevision(OperationRefused):
    """Report a saga that moved since the operator looked at it."""

    def __init__(self, message: str, *, expected: int, found: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class PermissionRefused(OperationRefused):
    """Report an actor who may not perform this action."""


class BadRequest(OperationRefused):
    """Report an action whose reason, step or value is missing or malformed."""


def describe_error(error: BaseException) -> str:
    """Return the class and the text of an error, also of one whose text cannot be had."""
    return f"{type(error).__name__}: {text_of(error)}"


def text_of(error: BaseException) -> str:
    """Return the text of an error; a broken ``__str__`` must not lose what happened."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - it is the project's
        return "(the error has no readable text)"


def as_seconds(value: float | timedelta | None) -> float | None:
    """Return a duration in seconds, or None when none was given.

    A signal must not lose its meaning because of its delay: what is no number gives None, and what is too large for one
    gives infinity.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        return None if value is None else float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None
