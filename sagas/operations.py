"""Operations of operators for a project's own code: the functions that the console, commands and API call."""

from .operators.actor import Actor
from .operators.notes import SagaNote, add_note
from .operators.operations import (
    OperationResult,
    abandon,
    cancel,
    force_compensate,
    mark_compensated,
    mark_refused,
    mark_succeeded,
    pause,
    perform_operation,
    resume,
    retry_now,
    skip_step,
)
from .operators.remedies import OfferedRemedy, RemedyResult, list_remedies, run_remedy

__all__ = [
    "Actor",
    "OfferedRemedy",
    "OperationResult",
    "RemedyResult",
    "SagaNote",
    "abandon",
    "add_note",
    "cancel",
    "force_compensate",
    "list_remedies",
    "mark_compensated",
    "mark_refused",
    "mark_succeeded",
    "pause",
    "perform_operation",
    "resume",
    "retry_now",
    "run_remedy",
    "skip_step",
]
