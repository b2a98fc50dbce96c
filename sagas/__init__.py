"""Saga engine for Django: long business transactions over several participants, never left half-done.

Everything that a project's own code needs is exported here: names to define a saga, and to start, find, wake and read
one. Names that need models are imported on first use, so importing this package loads no model and is always safe.
Operations are in ``sagas.operations``, the test kit in ``sagas.testing``.
"""

import importlib
import typing

from ._version import __version__ as __version__
from .core.definition.context import StepContext
from .core.definition.ending import SagaClosed
from .core.definition.remedies import RemedyAnswer, remedy
from .core.definition.saga import SagaDefinition
from .core.definition.steps import Compensatable, Parallel, Pivot, Retriable, nothing_to_undo
from .core.retry import RetryPolicy
from .exceptions import (
    DefinitionError,
    DefinitionNotFound,
    Fenced,
    InProgress,
    InputRefused,
    Misconfigured,
    OperationRefused,
    OutcomeUnknown,
    ResultRedacted,
    RetryLater,
    SagaError,
    SagaNotFound,
    StepNotFound,
)

if typing.TYPE_CHECKING:
    from .engine.async_start import astart
    from .engine.start_saga import start
    from .engine.step_wake import WakeResult, wake
    from .operators.queries.find import find, query
    from .operators.queries.summary import SagaSummary, StepSummary, summarize

__all__ = [
    "Compensatable", "DefinitionError", "DefinitionNotFound", "Fenced", "InProgress", "InputRefused",
    "Misconfigured", "OperationRefused", "OutcomeUnknown", "Parallel", "Pivot", "RemedyAnswer", "ResultRedacted",
    "Retriable", "RetryLater", "RetryPolicy", "SagaClosed", "SagaDefinition", "SagaError", "SagaNotFound",
    "SagaSummary", "StepContext", "StepNotFound", "StepSummary", "WakeResult", "astart", "find", "nothing_to_undo",
    "query", "remedy", "start", "summarize", "wake",
]  # fmt: skip

# Names that need the models, and their modules.
_LAZY = {
    "SagaSummary": "operators.queries.summary",
    "StepSummary": "operators.queries.summary",
    "WakeResult": "engine.step_wake",
    "astart": "engine.async_start",
    "find": "operators.queries.find",
    "query": "operators.queries.find",
    "start": "engine.start_saga",
    "summarize": "operators.queries.summary",
    "wake": "engine.step_wake",
}


def __getattr__(name: str) -> typing.Any:
    """Import a name that needs the models on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    """Return all names, imported or not."""
    return sorted({*globals(), *_LAZY})
