"""Answer what the engine refuses as ``application/problem+json``; other errors are left to the project's handler.

Source: RFC 9457.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from ..exceptions import (
    BadRequest,
    BulkNotFound,
    OperationRefused,
    PermissionRefused,
    SagaError,
    SagaNotFound,
    StaleRevision,
)

MEDIA_TYPE = "application/problem+json"


def handle_exception(error: Exception, context: Mapping[str, Any]) -> Any:
    """Be the exception handler of this package's views."""
    if isinstance(error, SagaError):
        set_rollback()
        return describe_refusal(error)
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
        case BadRequest():
            status, code = 422, "invalid-input"
        case OperationRefused():
            status, code = 409, "refused"
        case _:
            status, code = 409, "not-possible"
    return make_problem(status, code, str(error), **members)


def make_problem(status: int, code: str, detail: str, **members: Any) -> HttpResponse:
    """Return a problem document; a plain answer, so that no renderer or accepted media type changes it."""
    document = {"type": f"urn:problem:{code}", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    text = json.dumps({**document, "detail": detail, **members})
    return HttpResponse(text, status=status, content_type=MEDIA_TYPE)
