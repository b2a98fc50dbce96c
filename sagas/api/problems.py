"""Problem documents of what the engine refuses; other errors are left to the project's handler.

Source: RFC 9457.
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from ..exceptions import (
    BadRequest,
    BulkNotFound,
    OperationRefused,
    PermissionRefused,
    RemedyFailed,
    SagaError,
    SagaNotFound,
    StaleRevision,
    TransactionConflict,
)
from .problem_documents import Problem, RequestRefused


def handle_exception(error: Exception, context: Mapping[str, Any]) -> Any:
    """Answer an exception of this package's views."""
    if isinstance(error, SagaError):
        set_rollback()
        return describe_refusal(error)
    if isinstance(error, RequestRefused):
        set_rollback()
        return error.problem.as_response()
    handle: Any = api_settings.EXCEPTION_HANDLER
    return handle(error, context)


def describe_refusal(error: SagaError) -> HttpResponse:
    """Return the problem document of an error of the engine.

    Shape: ``{type, title, status, code, detail}``, and for a stale revision ``expected`` and ``found``.
    """
    members: dict[str, Any] = {}
    match error:
        case SagaNotFound() | BulkNotFound():
            status, code = 404, "not-found"
        case PermissionRefused():
            status, code = 403, "permission-denied"
        case StaleRevision():
            status, code = 409, "stale-revision"
            members = {"expected": error.expected, "found": error.found}
        case TransactionConflict():
            status, code = 409, "transaction-conflict"
        case BadRequest():
            status, code = 422, "invalid-input"
        case RemedyFailed():
            status, code = 502, "remedy-failed"
        case OperationRefused():
            status, code = 409, "refused"
        case _:
            status, code = 409, "not-possible"
    return Problem(status=status, code=code, detail=str(error), members=members).as_response()
