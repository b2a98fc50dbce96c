"""JSON from outside: validated before it is traversed."""

import enum
from typing import Any

import pytest

from sagas.core.json_values import MAX_DEPTH, as_stored, parse_json, require_storable, require_text
from sagas.exceptions import InputRefused

MANY = 10_000_000


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


def nest(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"k": value}
    return value


def share(times: int) -> Any:
    value: Any = {}
    for _ in range(times):
        value = {"a": value, "b": value}
    return value


def circle() -> Any:
    value: dict[str, Any] = {}
    value["me"] = value
    return value


REFUSED_TEXTS = {
    "brackets that never close": ("[" * 100_000, "nested deeper than 64 levels"),
    "objects one deeper than allowed": ('{"k":' * 65 + "1" + "}" * 65, "nested deeper than 64 levels"),
    "objects a hundred thousand deep": ('{"k":' * 100_000 + "1" + "}" * 100_000, "nested deeper than 64 levels"),
    "a number of thousands of digits": ("9" * 5_000, "a number has 5000 digits"),
    "a number beyond a double": ("-1e999", "out of range for a float"),
    "NaN": ("[NaN]", "NaN is not a JSON number"),
    "a name twice": ('{"a": 1, "a": 2}', "a name appears twice"),
    "NUL": ('"\\u0000"', "NUL character"),
    "NUL in a name": ('{"\\u0000": 1}', "NUL character"),
    "half a surrogate pair": ('"\\ud800"', "surrogates not allowed"),
    "half a surrogate pair, raw": ('"\ud800"', "surrogates not allowed"),
    "nothing": ("", "is not JSON"),
    "two values": ("1 2", "is not JSON"),
}


@pytest.mark.parametrize("name", REFUSED_TEXTS)
def test_refused_texts_get_a_reason(name: str) -> None:
    text, why = REFUSED_TEXTS[name]
    with pytest.raises(InputRefused) as refused:
        parse_json(text, "The result", MANY)
    assert str(refused.value).startswith("The result ")
    assert why in str(refused.value)


def test_text_beyond_the_limit_is_not_parsed() -> None:
    with pytest.raises(InputRefused, match="The result has 12 bytes; at most 11 are stored"):
        parse_json('{"a": "bcd"}', "The result", 11)
    assert parse_json('{"a": "bcd"}', "The result", 12) == {"a": "bcd"}


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    text = '{"a": "' + "[{" * 1000 + '\\"' + "[" * 1000 + '"}'
    assert parse_json(text, "The result", MANY)["a"].count("[") == 2000


def test_depth_is_the_same_in_texts_and_values() -> None:
    deepest = '{"k":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert parse_json(deepest, "The result", MANY) == nest(MAX_DEPTH)
    with pytest.raises(InputRefused, match="deeper than 64"):
        require_storable(nest(MAX_DEPTH + 1), "The result", MANY)


REFUSED_VALUES = {
    "deep": (lambda: nest(600), "nested deeper than 64 levels"),
    "deep lists and tuples": (lambda: [[(nest(62),)]], "nested deeper than 64 levels"),
    "a circle": (circle, "nested deeper than 64 levels"),
    "shared values that unfold to a billion": (lambda: share(30), "values; at most 65536 bytes"),
    "a key that is a number": (lambda: {"seats": {1: "A"}}, "the key 1, a int"),
    "keys that would become one": (lambda: {1: "a", "1": "b"}, "the key 1, a int"),
    "a key that is None": (lambda: {None: 1}, "the key None, a NoneType"),
    "a key that is true": (lambda: {True: 1}, "the key True, a bool"),
    "an object": (lambda: {"a": object()}, "is not JSON"),
    "a set": (lambda: {"a": {1}}, "is not JSON"),
    "bytes": (lambda: {"a": b"x"}, "is not JSON"),
    "infinity": (lambda: {"a": float("inf")}, "is not JSON"),
    "an integer of thousands of digits": (lambda: {"a": 10**5000}, "is not JSON"),
    "half a surrogate pair": (lambda: {"a": "\ud800"}, "is not JSON"),
}


@pytest.mark.parametrize("name", REFUSED_VALUES)
def test_refused_values_get_a_reason(name: str) -> None:
    make, why = REFUSED_VALUES[name]
    with pytest.raises(InputRefused) as refused:
        require_storable(make(), "The result", 65_536)
    assert why in str(refused.value)


def test_stored_value_is_plain_and_in_jsonb_order() -> None:
    given = {"bb": (1, 2), "a": Colour.RED, "ä": Size.BIG, "c": [1e22, -0.0, 1e-7, 1.0, 2.5, True, None], Colour.RED: 1}
    stored = as_stored(given, "The result", 1_000)
    assert list(stored) == ["a", "c", "bb", "ä", "red"]
    assert stored == {"bb": [1, 2], "a": "red", "ä": 3, "c": [10**22, 0.0, 1e-7, 1.0, 2.5, True, None], "red": 1}
    assert [type(stored[name]) for name in ("a", "ä")] == [str, int]
    assert [type(value) for value in stored["c"]] == [int, float, float, float, float, bool, type(None)]


@pytest.mark.parametrize("text", ["", "\U0001f600" * 500, '\x01"\\\n' * 200])
def test_texts_of_any_length_are_accepted(text: str) -> None:
    assert require_text(text, "It") == text
