"""Run long business transactions over several participants and never leave one half-done.

Everything that a project's own code needs is exported here: what a saga is written with, and what starts, finds, wakes
and reads one. The names that work on rows are imported when they are first used, so importing this package touches no
model and is safe at any time. What operators do stands in ``sagas.operations``, the test kit in ``sagas.testing``.
"""

import importlib
import typing

from ._version import __version__ as __version__
from .core.definition.context import StepContext
from .core.definition.ending import SagaClosed
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
    from .engine.waking import WakeResult, wake
    from .operators.queries.find import find, query
    from .operators.queries.summary import SagaSummary, StepSummary, summarize

__all__ = [
    "Compensatable",
    "DefinitionError",
    "DefinitionNotFound",
    "Fenced",
    "InProgress",
    "InputRefused",
    "Misconfigured",
    "OperationRefused",
    "OutcomeUnknown",
    "Parallel",
    "Pivot",
    "ResultRedacted",
    "Retriable",
    "RetryLater",
    "RetryPolicy",
    "SagaClosed",
    "SagaDefinition",
    "SagaError",
    "SagaNotFound",
    "SagaSummary",
    "StepContext",
    "StepNotFound",
    "StepSummary",
    "WakeResult",
    "astart",
    "find",
    "nothing_to_undo",
    "query",
    "start",
    "summarize",
    "wake",
]

# What needs the models, and where it stands.
_LAZY = {
    "SagaSummary": "operators.queries.summary",
    "StepSummary": "operators.queries.summary",
    "WakeResult": "engine.waking",
    "astart": "engine.async_start",
    "find": "operators.queries.find",
    "query": "operators.queries.find",
    "start": "engine.start_saga",
    "summarize": "operators.queries.summary",
    "wake": "engine.waking",
}


def __getattr__(name: str) -> typing.Any:
    """Import a name that needs the models when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    """List what there is, imported or not."""
    return sorted({*globals(), *_LAZY})
