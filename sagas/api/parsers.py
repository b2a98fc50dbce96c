"""Strict JSON: refuse what another parser might read differently or PostgreSQL cannot store.

Source: RFC 8259; RFC 7493 (I-JSON: no duplicate names, no lone surrogates, whole numbers below 2^53).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, ClassVar

from rest_framework.parsers import BaseParser

from ..core.json_values import MAX_DEPTH
from .pointers import append_token
from .problem_documents import MAX_ERRORS, InputError, Problem, RequestRefused

MAX_DISCARDED_BYTES = 16 * 1024 * 1024
DISCARDED_AT_ONCE = 64 * 1024
MAX_WHOLE_NUMBER = 2**53 - 1
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class _Unreadable:
    """A value that JSON can write and this API does not read."""

    code: str
    detail: str


_TOO_LARGE = _Unreadable("number_too_large", "The number is not between -(2^53 - 1) and 2^53 - 1.")


class _RepeatedMembers(dict[str, Any]):
    """An object in which a name came twice."""


class StrictJSONParser(BaseParser):
    """Parser of ``application/json`` with limits on size, depth and numbers."""

    media_type = "application/json"
    max_bytes: ClassVar[int] = 256 * 1024  # a result of the default size, with everything around it escaped
    max_depth: ClassVar[int] = MAX_DEPTH

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the body's value.

        Raises: RequestRefused with 413 (too large), 400 (not JSON) or 422 (JSON that is not accepted, with pointers).
        """
        raw = stream.read(self.max_bytes + 1)
        if len(raw) > self.max_bytes:
            _discard(stream)
            detail = f"A body may have {self.max_bytes} bytes."
            raise RequestRefused(Problem(status=413, code="body-too-large", detail=detail))
        value = _parse_json(raw, self.max_depth)
        if errors := list(islice(_iterate_errors(value, self.max_depth), MAX_ERRORS)):
            detail = "The body contains values that are not accepted; see errors."
            raise RequestRefused(Problem(status=422, code="invalid-input", detail=detail, errors=errors))
        return value


def _parse_json(raw: bytes, max_depth: int) -> Any:
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_build_object,
            parse_int=_read_whole_number,
            parse_float=_read_fraction,
            parse_constant=_refuse_constant,
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _refuse_malformed(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise _refuse_deep(max_depth) from error


def _discard(stream: IO[bytes]) -> None:
    """Read the rest, up to a limit: a client that is cut off while it sends does not read the response."""
    for _ in range(MAX_DISCARDED_BYTES // DISCARDED_AT_ONCE):
        if not stream.read(DISCARDED_AT_ONCE):
            return


def _refuse_malformed(detail: str) -> RequestRefused:
    return RequestRefused(Problem(status=400, code="malformed-json", detail=detail))


def _refuse_deep(max_depth: int) -> RequestRefused:
    return _refuse_malformed(f"The body is nested deeper than {max_depth} levels.")


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
    raise _refuse_malformed(f"The body is not JSON: {text} is not a JSON number.")


def _iterate_errors(root: Any, max_depth: int) -> Iterator[InputError]:
    """Walk without recursion, because the depth is the sender's choice."""
    pending: list[tuple[str, Any, int]] = [("", root, 1)]
    while pending:
        pointer, value, depth = pending.pop()
        if depth > max_depth:
            raise _refuse_deep(max_depth)
        if isinstance(value, _Unreadable):
            yield InputError(pointer=pointer, code=value.code, detail=value.detail)
        elif isinstance(value, str) and UNSTORABLE.search(value):
            yield _describe_text(pointer)
        elif isinstance(value, dict):
            if isinstance(value, _RepeatedMembers):
                yield InputError(pointer=pointer, code="repeated_member", detail="This object contains a name twice.")
            if any(UNSTORABLE.search(name) for name in value):
                yield _describe_text(pointer)
            else:
                pending.extend((append_token(pointer, name), inner, depth + 1) for name, inner in value.items())
        elif isinstance(value, list):
            pending.extend((append_token(pointer, index), inner, depth + 1) for index, inner in enumerate(value))


def _describe_text(pointer: str) -> InputError:
    return InputError(
        pointer=pointer, code="text_not_accepted", detail="Text must not contain NUL or half a surrogate pair."
    )
