"""The public exceptions, apart from those of alerts and the test kit.

::

    SagaError
    ├── DefinitionError          a definition contradicts itself (raised at import)
    ├── InputRefused             an input, key or search value does not fit or cannot be stored
    ├── StepSignal               raised *by* step functions to tell the engine how an attempt ended
    │   ├── RetryLater           nothing happened; try again
    │   ├── InProgress           the participant is still working; ask again
    │   ├── OutcomeUnknown       it may have happened
    │   ├── Misconfigured        nothing happened; an operator must change something first
    │   └── Fenced               the participant found the tombstone of this step key
    ├── TransactionEnded         a local step committed or rolled back the transaction that it runs in
    ├── ResultRedacted           a step reads a value that was masked in an earlier step's result
    ├── SagaNotFound             no saga has this id
    ├── StepNotFound             the saga has no step of this name
    ├── BulkNotFound             no bulk has this id
    ├── ViewNotFound             no saved view has this id, or it is another user's own
    ├── DefinitionNotFound       the code has no such definition or version
    ├── StaleWrite               a guarded write found a row that had changed (engine internal)
    ├── RemedyFailed             a remedy raised, or did not answer in time
    └── OperationRefused         an operation is not possible now
        ├── StaleRevision        the saga changed since the operator read it
        ├── TransactionConflict  the caller's transaction cannot see the saga's latest state
        ├── PermissionRefused    this user may not perform this operation
        └── BadRequest           a reason, a step or a value is missing or malformed

Pure: no Django import.
"""

import math
from datetime import timedelta


class SagaError(Exception):
    """Base class of all exceptions of this package."""


class DefinitionError(SagaError):
    """A definition contradicts itself; raised when its module is imported."""


class InputRefused(SagaError):
    """An input, key, search value or result does not fit or cannot be stored."""


class StepSignal(SagaError):
    """Base class of exceptions by which a step function reports how its attempt ended."""


class RetryLater(StepSignal):
    """Nothing happened, and the step should be tried again.

    Units: ``after`` in seconds, or a timedelta; it raises the delay of the retry policy, never lowers it.
    """

    def __init__(self, message: str = "", *, after: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.after_seconds = as_seconds(after)


class InProgress(StepSignal):
    """The participant has accepted the work and has not finished it.

    Units: ``poll_after`` in seconds, or a timedelta: when to ask again.
    """

    def __init__(self, message: str = "", *, poll_after: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.after_seconds = as_seconds(poll_after)


class OutcomeUnknown(StepSignal):
    """The step may have happened; only asking again can tell."""


class Misconfigured(StepSignal):
    """Nothing happened, and nothing will until an operator changes something."""


class Fenced(StepSignal):
    """The participant holds a tombstone for this step key: its compensation came first."""


class WorkerDied(BaseException):
    """Simulated death of a worker in tests: only committed data remain, so nothing is recorded."""


class ResultRedacted(SagaError):
    """A step reads a value that was masked in an earlier result before it was stored; an operator must help."""


class TransactionEnded(SagaError):
    """A local step ended its transaction itself: its writes and its record do not commit together."""


class SagaNotFound(SagaError):
    """No saga has this id."""


class StepNotFound(SagaError, KeyError):
    """The saga has no step of this name; the message lists its steps."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class BulkNotFound(SagaError):
    """No bulk has this id."""


class ViewNotFound(SagaError):
    """No saved view has this id, or it is another user's own."""


class DefinitionNotFound(SagaError):
    """The code does not have this definition or version."""


class StaleWrite(SagaError):
    """A guarded write found a row that had changed; the transaction must be rolled back."""


class RemedyFailed(SagaError):
    """A remedy raised an error or did not answer in time; nothing of the saga has changed."""


class OperationRefused(SagaError):
    """An operation is not possible now; the message gives the facts."""


class StaleRevision(OperationRefused):
    """The saga changed since the operator read it."""

    def __init__(self, message: str, *, expected: int, found: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class TransactionConflict(OperationRefused):
    """The saga changed after the caller's transaction began; nothing was done, and a new transaction may succeed."""


class PermissionRefused(OperationRefused):
    """The actor may not perform this operation."""


class BadRequest(OperationRefused):
    """The reason, step or value of an operation is missing or malformed."""


def describe_error(error: BaseException) -> str:
    """Return the class and the text of an error, even if its text is not readable."""
    return f"{type(error).__name__}: {text_of(error)}"


def text_of(error: BaseException) -> str:
    """Return the text of an error, or a substitute if its ``__str__`` is broken."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - the method is the project's code
        return "(the error has no readable text)"


def as_seconds(value: float | timedelta | None) -> float | None:
    """Return a duration in seconds, or None when none was given.

    An invalid delay must not invalidate its signal: no number gives None, one too large for a float gives infinity.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        return None if value is None else float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None
