"""Hold everything that is needed to continue a saga, and to tell what happened to it."""

from .attempt import SagaAttempt
from .barrier import BarrierState, SagaBarrier
from .history import SagaHistory
from .saga import Saga, SagaKey
from .step import SagaStep
from .worker import SagaWorker

__all__ = [
    "BarrierState",
    "Saga",
    "SagaAttempt",
    "SagaBarrier",
    "SagaHistory",
    "SagaKey",
    "SagaStep",
    "SagaWorker",
]
