"""Models: everything needed to continue a saga and to report what happened to it."""

from .access import SagaAccess
from .attempt import SagaAttempt
from .barrier import BarrierState, SagaBarrier
from .bulk import BulkResult, BulkState, SagaBulk, SagaBulkItem
from .events import EventConsumer, EventStream, InboxEvent, InboxKey, InboxState, OutboxEvent, OutboxState
from .history import SagaHistory
from .intents import Intent, IntentAttempt, IntentHistory
from .saga import Saga, SagaKey
from .statistic import SagaStatistic
from .step import SagaStep
from .tracked import TrackedEvent
from .view import SagaView
from .worker import SagaWorker

__all__ = [
    "BarrierState", "BulkResult", "BulkState", "EventConsumer", "EventStream", "InboxEvent", "InboxKey", "InboxState",
    "Intent", "IntentAttempt", "IntentHistory", "OutboxEvent", "OutboxState", "Saga", "SagaAccess", "SagaAttempt",
    "SagaBarrier", "SagaBulk", "SagaBulkItem", "SagaHistory", "SagaKey", "SagaStatistic", "SagaStep", "SagaView",
    "SagaWorker", "TrackedEvent",
]  # fmt: skip
