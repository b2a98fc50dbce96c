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
    404: "There is nothing, or nothing of yours, at this address.",
    409: "Not now; `code` tells why.",
    422: "The body is not accepted; `errors` points at what.",
    503: "The database is away; send the same request again.",
}
list_problems = partial(schema.list_problems, serializer=ProblemSerializer, descriptions=DESCRIPTIONS)

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[A-Za-z0-9_.:~/+=-]+$"},
    OpenApiParameter.HEADER,
    required=True,
    description=(
        "Visible ASCII, in double quotes or without. New for each checkout, the same for its repeats. Kept for 7 days,"
        " and as long as the checkout is not over."
    ),
)
PREFER = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description=f"`wait=N`: hold the answer until the checkout is over, at most N (up to {MAX_WAIT_SECONDS}) seconds.",
)
LOCATION = OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[202], description="The order.")
REPLAYED = OpenApiParameter(
    "Idempotent-Replayed", str, OpenApiParameter.HEADER, response=[202], description="`true` for a stored answer."
)
APPLIED = OpenApiParameter(
    "Preference-Applied", str, OpenApiParameter.HEADER, response=[202], description="`wait=N`, if the answer was held."
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
