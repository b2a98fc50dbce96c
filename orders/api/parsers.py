"""Read JSON strictly: what another reader might read differently, or PostgreSQL cannot store, is refused.

Source: RFC 8259; RFC 7493 (I-JSON: no duplicate names, no lone surrogates, whole numbers below 2^53).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from rest_framework.parsers import BaseParser

from .documents import MAX_ERRORS, Problem, RequestRefused
from .pointers import InputError, append_token

# The largest honest body (50 lines, a long address) has about 6 kB.
MAX_BODY_BYTES = 64 * 1024
MAX_DISCARDED_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 16
MAX_WHOLE_NUMBER = 2**53 - 1
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class _Unreadable:
    """Stand for a value that JSON can write and this API does not read."""

    code: str
    detail: str


_TOO_LARGE = _Unreadable("number_too_large", "Numbers are whole, and between -(2^53 - 1) and 2^53 - 1.")


class _RepeatedMembers(dict[str, Any]):
    """Be an object in which a name came twice."""


class StrictJSONParser(BaseParser):
    """Parse ``application/json``."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the body's value.

        Raises: RequestRefused with 413 (too large), 400 (not JSON) or 422 (JSON that is not accepted, with pointers).
        """
        return parse_json(_read_limited(stream))


def parse_json(raw: bytes) -> Any:
    """Return the value of a JSON text.

    Raises: RequestRefused.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_build_object,
            parse_int=_read_whole_number,
            parse_float=_read_fraction,
            parse_constant=_refuse_constant,
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _refuse_malformed(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise _refuse_malformed(f"The body is nested deeper than {MAX_DEPTH} levels.") from error
    errors = []
    for error in _iterate_errors(value):
        errors.append(error)
        if len(errors) >= MAX_ERRORS:
            break
    if errors:
        detail = "The body holds values that are not accepted; see errors."
        raise RequestRefused(Problem(status=422, code="invalid-input", detail=detail, errors=errors))
    return value


def _read_limited(stream: IO[bytes]) -> bytes:
    raw = stream.read(MAX_BODY_BYTES + 1)
    if len(raw) > MAX_BODY_BYTES:
        _discard(stream)
        detail = f"A body may have {MAX_BODY_BYTES} bytes."
        raise RequestRefused(Problem(status=413, code="body-too-large", detail=detail))
    return raw


def _discard(stream: IO[bytes]) -> None:
    """Take the rest in, within reason: a client that is cut off while it sends does not read why."""
    for _ in range(MAX_DISCARDED_BYTES // MAX_BODY_BYTES):
        if not stream.read(MAX_BODY_BYTES):
            return


def _refuse_malformed(detail: str) -> RequestRefused:
    return RequestRefused(Problem(status=400, code="malformed-json", detail=detail))


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _RepeatedMembers(members)


def _read_whole_number(text: str) -> int | _Unreadable:
    # Checked before int(), which needs quadratic time for long texts and refuses very long ones.
    if len(text) > 17 or abs(int(text)) > MAX_WHOLE_NUMBER:
        return _TOO_LARGE
    return int(text)


def _read_fraction(text: str) -> float | _Unreadable:
    value = float(text)
    return value if math.isfinite(value) else _TOO_LARGE


def _refuse_constant(text: str) -> Any:
    raise _refuse_malformed(f"The body is not JSON: {text} is no JSON number.")


def _iterate_errors(root: Any) -> Iterator[InputError]:
    """Walk without recursion, because the depth is the sender's choice."""
    pending: list[tuple[str, Any, int]] = [("", root, 1)]
    while pending:
        pointer, value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _refuse_malformed(f"The body is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, _Unreadable):
            yield InputError(pointer=pointer, code=value.code, detail=value.detail)
        elif isinstance(value, str) and UNSTORABLE.search(value):
            yield _describe_text(pointer)
        elif isinstance(value, dict):
            if isinstance(value, _RepeatedMembers):
                yield InputError(pointer=pointer, code="repeated_member", detail="A name comes twice in this object.")
            if any(UNSTORABLE.search(name) for name in value):
                yield _describe_text(pointer)
            else:
                pending.extend((append_token(pointer, name), inner, depth + 1) for name, inner in value.items())
        elif isinstance(value, list):
            pending.extend((append_token(pointer, index), inner, depth + 1) for index, inner in enumerate(value))


def _describe_text(pointer: str) -> InputError:
    return InputError(
        pointer=pointer, code="text_not_accepted", detail="Text may hold neither NUL nor half a surrogate pair."
    )
