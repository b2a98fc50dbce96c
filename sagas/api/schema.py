"""Describe in the OpenAPI document what the operations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from ..filtering import MAX_MOMENT_CHARS, MAX_SEARCH_CHARS, TOUCHES
from ..rules import OPERATIONS_BY_CODE
from .problem_documents import MEDIA_TYPE
from .serializers import DISPLAY_STATES, MAX_NUMBER, NEEDS, SagaProblemSerializer

MAX_PAGE_SIZE = 100
PAGE_SIZE = 50
DESCRIPTIONS = {
    400: "The request is malformed, or a parameter is not accepted.",
    401: "No credentials, or wrong ones.",
    403: "This account may not do this.",
    404: "There is nothing at this address.",
    405: "The method is not known here.",
    406: "No other media type than JSON is spoken.",
    409: "Not now: refused with the facts, or the saga moved since (`stale-revision`).",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The body is not accepted; nothing was done.",
    429: "Too many requests; `Retry-After` tells when to come again.",
    500: "A mistake of the server.",
    503: "The database is away; look whether it was done before you repeat it.",
}
ACTION_NAMES = list(OPERATIONS_BY_CODE)

MOMENT = {"type": "string", "format": "date-time", "maxLength": MAX_MOMENT_CHARS}
FILTERS = [
    OpenApiParameter("display", {"type": "string", "enum": DISPLAY_STATES}, description="Where it stands."),
    OpenApiParameter("needs", {"type": "string", "enum": NEEDS}, description="Why a person must look."),
    OpenApiParameter(
        "definition",
        {"type": "string", "pattern": "^[a-z][a-z0-9_.-]{0,59}(:[1-9][0-9]{0,8})?$"},
        description="Stored name, or name:version.",
    ),
    OpenApiParameter(
        "search",
        {"type": "string", "minLength": 1, "maxLength": MAX_SEARCH_CHARS, "pattern": r"\S"},
        description="The beginning of an id (8 characters or more) or of a business key.",
    ),
    OpenApiParameter(
        "step", {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,59}$"}, description="The step that open sagas are at."
    ),
    OpenApiParameter(
        "attempts",
        {"type": "integer", "minimum": 2, "maximum": 999_999_999},
        description="At least so many for one step in one direction.",
    ),
    OpenApiParameter("group", {"type": "string", "pattern": "^[0-9a-f]{16}$"}, description="A failure group."),
    OpenApiParameter(
        "failing",
        {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        description="A failure group that open sagas are at still.",
    ),
    OpenApiParameter("touched", {"type": "string", "enum": list(TOUCHES)}, description="Whether a person has acted."),
    OpenApiParameter("since", MOMENT, description="Started then or later; with a zone."),
    OpenApiParameter("until", MOMENT, description="Started before then; with a zone."),
]
CURSOR = OpenApiParameter("cursor", str, description="From `next` of another page.")
SIZE = OpenApiParameter("page_size", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE})
AFTER = OpenApiParameter("after", {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER}, description="A position.")
ACTION = OpenApiParameter("action", {"type": "string", "enum": ACTION_NAMES}, OpenApiParameter.PATH)
STEP = OpenApiParameter(
    "step", {"type": "string", "minLength": 1, "maxLength": 60}, description="The step that is meant."
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="An `ETag` seen before: 304 if nothing has changed."
)
ETAG = OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200], description="Changes with the answer.")
LOCATION = OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[201], description="The bulk.")
NOT_MODIFIED = OpenApiResponse(response=None, description="As it was.")


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
