"""JSON from outside: one limit of depth and size, one way to read it, and the form that PostgreSQL returns.

All incoming data (inputs, results, what operators type and providers send) is checked here before other code walks
it, so that no depth, size or value crashes a process. Pure: no Django import.

Source: RFC 8259, section 9 (a parser may limit size and depth); PostgreSQL, ``jsonb`` (numbers are ``numeric``, keys
are ordered by length and then by bytes).
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from ..exceptions import InputRefused

MAX_DEPTH = 64  # far more than a result needs, and far below Python's recursion limit
MAX_NUMBER_CHARS = 400  # a double has 309 digits; longer ones take quadratic time to read
# One pass without recursion: strings are skipped, brackets are counted.
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
NUL = "\x00"


def parse_json(text: str, what: str, max_bytes: int) -> Any:
    """Return the value of a JSON text.

    Raises: InputRefused with the reason: too large, too deep, not JSON, a repeated name in one object, a number that is
    too long or not finite, a text that cannot be stored.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise InputRefused(f"{what} has {size} bytes; at most {max_bytes} are stored.")
    _refuse_deep_text(text, what)
    try:
        value = _strict.decode(text)
    except (ValueError, RecursionError) as error:
        raise InputRefused(f"{what} is not JSON: {error}") from error
    require_storable(value, what, max_bytes)
    return value


def require_storable(data: Any, what: str, max_bytes: int) -> None:
    """Check that PostgreSQL can store a value as JSON.

    Raises: InputRefused with the reason: not JSON, a key that is not a string, depth, NUL, a lone surrogate, NaN, size.
    """
    _serialize(data, what, max_bytes)


def require_text(value: Any, what: str) -> str:
    """Return a text of any length, once checked that PostgreSQL can store it.

    Raises: InputRefused for anything but text, and for NUL and lone surrogates.
    """
    if not isinstance(value, str):
        raise InputRefused(f"{what} must be a string, not {type(value).__name__}.")
    _serialize(value, what, 6 * len(value) + 2)
    return value


def as_stored(data: Any, what: str, max_bytes: int) -> Any:
    """Return a value as a ``jsonb`` column returns it: plain lists, texts and numbers, keys in its order.

    Later steps see the same value whether or not the process crashed in between.
    Raises: InputRefused as ``require_storable``.
    """
    return json.loads(
        _serialize(data, what, max_bytes), object_pairs_hook=_in_stored_order, parse_float=_read_as_numeric
    )


def _serialize(data: Any, what: str, max_bytes: int) -> str:
    _require_shape(data, what, max_bytes)
    try:
        text = _plain.encode(data)
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputRefused(f"{what} is not JSON: {error}") from error
    if size > max_bytes:
        raise InputRefused(f"{what} has {size} bytes; at most {max_bytes} are stored.")
    return text


def _require_shape(data: Any, what: str, max_bytes: int) -> None:
    """Check depth, texts and number of values without recursion, because the sender may nest, share or loop values."""
    pending: list[tuple[Any, int]] = [(data, 1)]
    seen = 0
    while pending:
        value, depth = pending.pop()
        seen += 1
        if seen > max_bytes:  # each value takes a byte at least
            raise InputRefused(f"{what} has more than {max_bytes} values; at most {max_bytes} bytes are stored.")
        if isinstance(value, str):
            if NUL in value:
                raise InputRefused(f"{what} holds a NUL character, which PostgreSQL cannot store.")
            continue
        if not isinstance(value, dict | list | tuple):
            continue
        if depth > MAX_DEPTH:
            raise InputRefused(f"{what} is nested deeper than {MAX_DEPTH} levels.")
        pending += [(inner, depth + 1) for inner in _list_inner(value, what)]


def _list_inner(value: Any, what: str) -> Iterator[Any]:
    if not isinstance(value, dict):
        yield from value
        return
    for key, inner in value.items():
        if not isinstance(key, str):
            raise InputRefused(
                f"{what} has the key {key!r:.100}, a {type(key).__name__}: the keys of a JSON object are texts, and"
                " would come back as such."
            )
        yield key
        yield inner


def _refuse_deep_text(text: str, what: str) -> None:
    depth = 0
    for found in BRACKETS.finditer(text):
        mark = found.group()
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InputRefused(f"{what} is nested deeper than {MAX_DEPTH} levels.")
        elif mark in "]}":
            depth -= 1


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice in one object.")
    return found


def _read_whole_number(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError(f"a number has {len(text)} digits; at most {MAX_NUMBER_CHARS} are stored.")
    return int(text)


def _read_fraction(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text:.40} is out of range for a float.")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number.")


def _in_stored_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keyed = [(len(raw := key.encode("utf-8")), raw, key, value) for key, value in pairs]
    return {key: value for _, _, key, value in sorted(keyed, key=lambda entry: entry[:2])}


def _read_as_numeric(text: str) -> int | float:
    """Return a fraction as ``numeric`` writes it: without an exponent, and without a negative zero."""
    if "e" in text or "E" in text:
        number = Decimal(text)
        if number == number.to_integral_value():
            return int(number)
    return float(text) or 0.0


# Made once: to make one takes longer than to read a small value.
_strict = json.JSONDecoder(
    object_pairs_hook=_without_repeats,
    parse_int=_read_whole_number,
    parse_float=_read_fraction,
    parse_constant=_refuse_constant,
)
_plain = json.JSONEncoder(allow_nan=False, ensure_ascii=False)
