"""Hold everything that is needed to continue a saga, and to tell what happened to it."""

from .attempt import SagaAttempt
from .barrier import BarrierState, SagaBarrier
from .bulk import BulkResult, BulkState, SagaBulk, SagaBulkItem
from .figure import SagaFigure
from .history import SagaHistory
from .look import SagaLook
from .saga import Saga, SagaKey
from .step import SagaStep
from .worker import SagaWorker

__all__ = [
    "BarrierState",
    "BulkResult",
    "BulkState",
    "Saga",
    "SagaAttempt",
    "SagaBarrier",
    "SagaBulk",
    "SagaBulkItem",
    "SagaFigure",
    "SagaHistory",
    "SagaKey",
    "SagaLook",
    "SagaStep",
    "SagaWorker",
]
