"""Run long business transactions over several participants and never leave one half-done.

Everything that a project's own code needs is exported here: what a saga is written with, and what starts, finds, wakes
and reads one. The names that work on rows are imported when they are first used, so importing this package touches no
model and is safe at any time. What operators do stands in ``sagas.operations``, the test kit in ``sagas.testing``.
"""

import importlib
import typing

from ._version import __version__ as __version__
from .context import StepContext
from .definition import SagaDefinition
from .ending import SagaClosed
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
from .retry import RetryPolicy
from .steps import Compensatable, Parallel, Pivot, Retriable, nothing_to_undo

if typing.TYPE_CHECKING:
    from .async_start import astart
    from .finding import find, query
    from .starting import start
    from .summary import SagaSummary, StepSummary, summarize
    from .waking import WakeResult, wake

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
    "SagaSummary": "summary",
    "StepSummary": "summary",
    "WakeResult": "waking",
    "astart": "async_start",
    "find": "finding",
    "query": "finding",
    "start": "starting",
    "summarize": "summary",
    "wake": "waking",
}


def __getattr__(name: str) -> typing.Any:
    """Import a name that needs the models when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    """List what there is, imported or not."""
    return sorted({*globals(), *_LAZY})
