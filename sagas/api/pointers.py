"""JSON pointers to what is wrong in a body.

Source: RFC 6901 (JSON pointer).
"""

from collections.abc import Iterator
from typing import Any

from rest_framework.settings import api_settings

from .problem_documents import InputError


def append_token(pointer: str, token: str | int) -> str:
    """Return the pointer to a member or an item of what a pointer points at."""
    escaped = str(token).replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{escaped}"


def list_errors(detail: Any) -> list[InputError]:
    """Return the errors of a serializer as a flat list.

    Shape: ``detail`` is what ``ValidationError.detail`` holds: dicts by field or index and lists, down to ErrorDetail.
    """
    return list(_iterate_errors(detail, ""))


def _iterate_errors(detail: Any, pointer: str) -> Iterator[InputError]:
    if isinstance(detail, dict):
        for name, inner in detail.items():
            is_own = name == api_settings.NON_FIELD_ERRORS_KEY
            yield from _iterate_errors(inner, pointer if is_own else append_token(pointer, name))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            is_item = isinstance(inner, dict)
            yield from _iterate_errors(inner, append_token(pointer, index) if is_item else pointer)
    else:
        yield InputError(pointer=pointer, code=str(getattr(detail, "code", "invalid")), detail=str(detail))
