"""Shared parts of the operations in the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from ..operators.preconditions import OPERATIONS_BY_CODE
from ..operators.queries.saga_filter import CRITERIA
from .problem_documents import MEDIA_TYPE
from .serializers import MAX_NUMBER, SagaProblemSerializer

MAX_PAGE_SIZE = 100
PAGE_SIZE = 50
DESCRIPTIONS = {
    400: "The request is malformed, or a parameter is not accepted.",
    401: "No credentials, or wrong ones.",
    403: "This account may not do this.",
    404: "Nothing was found at this address.",
    405: "The method is not allowed here.",
    406: "The response is only available as JSON.",
    409: "Refused in this state, or the saga has changed (`stale-revision`).",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The body is not accepted; nothing was done.",
    429: "Too many requests; `Retry-After` says when to retry.",
    500: "Internal server error.",
    502: "The remedy failed; nothing of the saga changed.",
    503: "The database is unavailable; check whether the request took effect before you repeat it.",
}
ACTION_NAMES = list(OPERATIONS_BY_CODE)

FILTERS = [
    OpenApiParameter(name, dict(criterion.schema), description=criterion.help) for name, criterion in CRITERIA.items()
]
CURSOR = OpenApiParameter("cursor", str, description="The cursor in `next` of another page.")
SIZE = OpenApiParameter("page_size", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE})
AFTER = OpenApiParameter("after", {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER}, description="A position.")
BEFORE = OpenApiParameter("before", {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER}, description="A number.")
ACTION = OpenApiParameter("action", {"type": "string", "enum": ACTION_NAMES}, OpenApiParameter.PATH)
STEP = OpenApiParameter(
    "step", {"type": "string", "minLength": 1, "maxLength": 60}, description="The name of the step."
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="An earlier `ETag`: 304 if nothing has changed."
)
ETAG = OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200], description="Changes with the response.")
LOCATION = OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[201], description="Path of the bulk.")
NOT_MODIFIED = OpenApiResponse(response=None, description="Nothing has changed.")


def list_problems(
    *statuses: int, serializer: Any = SagaProblemSerializer, descriptions: Mapping[int, str] = DESCRIPTIONS
) -> dict[Any, Any]:
    """Return the descriptions of these problem answers, and of those that every operation can give."""
    always = {400, 401, 403, 404, 405, 406, 429, 500, 503}
    return {
        (status, MEDIA_TYPE): OpenApiResponse(response=serializer, description=descriptions[status])
        for status in sorted(always | set(statuses))
    }


POSTED = list_problems(409, 413, 415, 422)
