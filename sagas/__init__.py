"""Run long business transactions over several participants and never leave one half-done.

Everything needed to *write* a saga is exported here and imports no model, so it is safe at any time. What runs,
shows or repairs sagas
lives in ``sagas.engine``, ``sagas.operations``, ``sagas.recovery``, ``sagas.transcript`` and ``sagas.testing``.
"""

from .context import StepContext
from .definition import Compensatable, Parallel, Pivot, Retriable, SagaDefinition, nothing_to_undo
from .exceptions import (
    DefinitionError,
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
)
from .retry import RetryPolicy

__all__ = [
    "Compensatable",
    "DefinitionError",
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
    "SagaDefinition",
    "SagaError",
    "SagaNotFound",
    "StepContext",
    "nothing_to_undo",
]
__version__ = "0.1.0"
