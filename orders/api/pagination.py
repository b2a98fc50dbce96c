"""Keyset pagination of orders: every page costs the same."""

from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from sagas.api.problem_documents import Problem, RequestRefused

# A bigint has at most 19 digits; what is longer was not made here.
MAX_POSITION_DIGITS = 18


class OrderPagination(CursorPagination):
    """Newest orders first; unknown cursors, sizes and parameters are refused."""

    ordering = "-id"
    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100

    def paginate_queryset(self, queryset: QuerySet, request: Request, view: APIView | None = None) -> list[Any] | None:
        """Return one page.

        Raises: RequestRefused with 400.
        """
        known = {self.cursor_query_param, self.page_size_query_param}
        if unknown := sorted(set(request.query_params) - known):
            raise _refuse(f"Unknown parameter {unknown[0][:40]!r}; accepted are {', '.join(sorted(known))}.")
        page = super().paginate_queryset(queryset, request, view)
        # Links without a host: whatever the request's Host header said, they lead back here.
        self.base_url = request.get_full_path()
        return page

    def get_page_size(self, request: Request) -> int:
        """Return the asked size, instead of quietly another one."""
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= self.max_page_size):
            raise _refuse(f"page_size must be a whole number from 1 to {self.max_page_size}.")
        return int(text)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe a page for the OpenAPI document."""
        link = _describe_link(self.cursor_query_param)
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def decode_cursor(self, request: Request) -> Any:
        """Return the cursor, if it can be one of ours; the framework would give any text to the database."""
        try:
            cursor = super().decode_cursor(request)
        except NotFound as error:
            raise _refuse("The cursor is invalid; start again without it.") from error
        if cursor is not None and (cursor.offset or not _is_position(cursor.position)):
            raise _refuse("The cursor is invalid; start again without it.")
        return cursor


def _describe_link(parameter: str) -> dict[str, Any]:
    example = f"/api/v1/orders/?{parameter}=cD00ODY%3D"
    return {"type": ["string", "null"], "format": "uri-reference", "example": example}


def _is_position(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdecimal() and len(text) <= MAX_POSITION_DIGITS


def _refuse(detail: str) -> RequestRefused:
    return RequestRefused(Problem(status=400, code="bad-parameter", detail=detail))
