"""Answer every error as ``application/problem+json``, inside and outside of the REST framework.

Source: RFC 9457.
"""

import math
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.core import signals
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions as drf
from rest_framework.views import set_rollback

from orders import exceptions as orders
from sagas.api.pointers import list_errors
from sagas.api.problem_documents import InputError, Problem, RequestRefused
from sagas.databases import is_away
from sagas.exceptions import TransactionConflict

API_PREFIX = "/api/"
RETRY_AFTER_SECONDS = 5
# Members that cannot be accepted as they are, and the codes of these problems.
REFUSED_MEMBERS: Mapping[type[orders.CheckoutRefused], tuple[str, str]] = {
    orders.MixedCurrencies: ("/lines", "mixed-currencies"),
    orders.TotalNotChargeable: ("/lines", "total-not-chargeable"),
    orders.EventsOff: ("/coordination", "events-off"),
}


def handle_exception(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Answer any exception of a view; the REST framework's exception handler."""
    set_rollback()
    problem = describe_error(error)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        request = context.get("request")
        # Error trackers listen to Django's own signal.
        signals.got_request_exception.send(sender=None, request=getattr(request, "_request", request))
    return problem.as_response()


def describe_error(error: BaseException | None) -> Problem:
    """Return the problem document of an exception: 500 if it is of no known type."""
    if isinstance(error, RequestRefused):
        return error.problem
    if isinstance(error, orders.OrdersError):
        return _describe_refusal(error)
    if isinstance(error, drf.APIException):
        return _describe_framework_error(error)
    if isinstance(error, Http404):
        return Problem(status=404, code="not-found", detail="Nothing exists at this URL.")
    if isinstance(error, PermissionDenied):
        return Problem(status=403, code="permission-denied", detail="This account may not do this.")
    if isinstance(error, TransactionConflict) or (
        isinstance(error, DatabaseError | InterfaceError) and is_outage(error)
    ):
        return Problem(
            status=503,
            code="database-unavailable",
            detail="The database is unavailable. Send the same request again, with the same Idempotency-Key.",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )
    return Problem(status=500, code="internal-error", detail="An internal error occurred; it was logged.")


def is_outage(error: BaseException) -> bool:
    """Return whether the database is away, full, restarting or read-only, and no statement is wrong."""
    return is_away(error)


def _describe_refusal(error: orders.OrdersError) -> Problem:
    detail = str(error)
    match error:
        case orders.UnknownProducts():
            unknown = [
                InputError(
                    pointer=f"/lines/{position}/sku", code="unknown_sku", detail=f"{sku} is not in the catalogue."
                )
                for position, sku in error.lines.items()
            ]
            return Problem(status=422, code="invalid-input", detail=detail, errors=unknown)
        case orders.PriceChanged():
            total = {"amount_minor": error.amount_minor, "currency": error.currency}
            wrong = InputError(pointer="/expected_total", code="price_changed", detail=detail)
            return Problem(status=422, code="price-changed", detail=detail, errors=[wrong], members={"total": total})
        case orders.MixedCurrencies() | orders.TotalNotChargeable() | orders.EventsOff():
            pointer, code = REFUSED_MEMBERS[type(error)]
            wrong = InputError(pointer=pointer, code=code.replace("-", "_"), detail=detail)
            return Problem(status=422, code=code, detail=detail, errors=[wrong])
        case orders.IdempotencyKeyReused():
            return Problem(status=422, code="idempotency-key-reused", detail=detail)
        case orders.RequestInFlight():
            headers = {"Retry-After": str(error.retry_after)}
            return Problem(status=409, code="request-in-flight", detail=detail, headers=headers)
        case orders.OrderNotFound():
            return Problem(status=404, code="not-found", detail=detail)
        case orders.CancelTooLate():
            return Problem(status=409, code="too-late", detail=detail)
        case orders.CancelNotAllowed():
            return Problem(status=403, code="permission-denied", detail=detail)
        case orders.LogInRefused():
            headers = {"WWW-Authenticate": "Token"}
            return Problem(status=401, code="log-in-refused", detail=detail, headers=headers)
        case orders.AllowanceSpent():
            headers = {"Retry-After": str(math.ceil(error.retry_after))}
            return Problem(status=429, code="too-many-requests", detail=detail, headers=headers)
    return Problem(status=500, code="internal-error", detail="An internal error occurred; it was logged.")


FRAMEWORK_CODES: Mapping[int, str] = {
    400: "bad-request",
    401: "not-authenticated",
    403: "permission-denied",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    415: "unsupported-media-type",
    429: "too-many-requests",
}


def _describe_framework_error(error: drf.APIException) -> Problem:
    if isinstance(error, drf.ValidationError):
        errors = list_errors(error.detail)
        detail = f"Invalid members: {len(errors)}; see errors."
        return Problem(status=422, code="invalid-input", detail=detail, errors=errors)
    headers = {}
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    return Problem(
        status=error.status_code,
        code=FRAMEWORK_CODES.get(error.status_code, "bad-request"),
        detail=str(error.detail),
        headers=headers,
    )


def refuse_bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a forged host or a body too large; Django's handler400."""
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    return Problem(status=400, code="bad-request", detail="The request is malformed.").as_response()


def refuse_permission(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a refused permission; Django's handler403."""
    if not _is_api(request):
        return defaults.permission_denied(request, exception)
    return describe_error(PermissionDenied()).as_response()


def refuse_csrf(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a failed CSRF check: Django's page in a browser, a problem below ``/api/``."""
    if not _is_api(request):
        from django.views.csrf import csrf_failure

        return csrf_failure(request, reason)
    return Problem(status=403, code="permission-denied", detail="The CSRF token is missing or wrong.").as_response()


@csrf_exempt
def refuse_unknown(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer an unknown address; Django's handler404, and the catch-all view below ``/api/``."""
    if not _is_api(request):
        return defaults.page_not_found(request, exception or Http404())
    return describe_error(Http404()).as_response()


def report_failure(request: HttpRequest) -> HttpResponse:
    """Answer a failure outside of views, such as of the session's database; Django's handler500."""
    problem = describe_error(sys.exc_info()[1])
    if not _is_api(request) and problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return defaults.server_error(request)
    return problem.as_response()


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith(API_PREFIX)
