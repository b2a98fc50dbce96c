"""What operations share in the OpenAPI document: problems, and the headers that the shop reads or sends."""

from functools import partial
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from orders.models import MAX_LINES
from sagas.api import schema

from .headers import MAX_KEY_CHARS, MAX_WAIT_SECONDS
from .pagination import OrderPagination
from .serializers import ProblemSerializer

DESCRIPTIONS = {
    **schema.DESCRIPTIONS,
    400: "The request is malformed.",
    403: "Not allowed, or the CSRF token is missing.",
    404: "Not found, or it belongs to another user.",
    409: "Not possible now; `code` gives the reason.",
    422: "The body is invalid; `errors` lists the members.",
    503: "The database is unavailable; send the same request again.",
}
list_problems = partial(schema.list_problems, serializer=ProblemSerializer, descriptions=DESCRIPTIONS)

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[A-Za-z0-9_.:~/+=-]+$"},
    OpenApiParameter.HEADER,
    required=True,
    description=(
        "Visible ASCII, with or without double quotes. Unique per checkout, the same for its retries. Kept for 7 days,"
        " and until the checkout has ended."
    ),
)
PREFER = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description=f"`wait=N`: wait until the checkout has ended, at most N (up to {MAX_WAIT_SECONDS}) seconds.",
)
LOCATION = OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[202], description="URL of the order.")
REPLAYED = OpenApiParameter(
    "Idempotent-Replayed", str, OpenApiParameter.HEADER, response=[202], description="`true` for a stored response."
)
APPLIED = OpenApiParameter(
    "Preference-Applied", str, OpenApiParameter.HEADER, response=[202], description="`wait=N`, if the request waited."
)
CURSOR = OpenApiParameter("cursor", str, description="From `next` or `previous` of another page.")
PAGE_SIZE = OpenApiParameter(
    "page_size", {"type": "integer", "minimum": 1, "maximum": OrderPagination.max_page_size, "default": 20}
)


def describe_strictness(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Add what the generator cannot see: bodies with unknown members are refused, and how many lines an order has."""
    components = result["components"]["schemas"]
    for name, component in components.items():
        if name.endswith("Request"):
            component["additionalProperties"] = False
    components["CheckoutRequest"]["properties"]["lines"].update(minItems=1, maxItems=MAX_LINES)
    return result


class ShopSchema(AutoSchema):
    """A schema generator that tags operations by resource."""

    def get_tags(self) -> list[str]:
        """Return one tag for each resource."""
        return [self.path.removeprefix("/api/v1/").split("/")[0]]
