"""The events that a saga's history records. Pure: no Django import."""

from __future__ import annotations

from enum import StrEnum


class HistoryEvent(StrEnum):
    """Event that a history row records."""

    SAGA_STARTED = "saga_started"
    SAGA_RUNNING = "saga_running"
    SAGA_TURNED_BACK = "saga_turned_back"
    SAGA_COMPLETED = "saga_completed"
    SAGA_COMPENSATED = "saga_compensated"
    SAGA_ABANDONED = "saga_abandoned"
    SAGA_REOPENED = "saga_reopened"
    STEP_CLAIMED = "step_claimed"
    STEP_SUCCEEDED = "step_succeeded"
    STEP_REFUSED = "step_refused"
    STEP_WAITING = "step_waiting"
    STEP_UNKNOWN = "step_unknown"
    STEP_SKIPPED = "step_skipped"
    STEP_WOKEN = "step_woken"
    COMPENSATION_CLAIMED = "compensation_claimed"
    COMPENSATION_SUCCEEDED = "compensation_succeeded"
    COMPENSATION_WAITING = "compensation_waiting"
    COMPENSATION_REOPENED = "compensation_reopened"
    LATE_ANSWER = "late_answer"
    PIVOT_PASSED = "pivot_passed"
    HELD = "held"
    HOLD_CLEARED = "hold_cleared"
    ATTENTION_RAISED = "attention_raised"
    ATTENTION_CLEARED = "attention_cleared"
    ABORT_REQUESTED = "abort_requested"
    ABORT_DROPPED = "abort_dropped"
    OPERATOR_ACTED = "operator_acted"
