"""Saga inputs: frozen dataclasses, strictly JSON, no secrets (I7)."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field, make_dataclass
from typing import Any

import pytest

from sagas import DefinitionError, InputRefused
from sagas.core.definition import inputs


@dataclass(frozen=True)
class Line:
    """Order line."""

    sku: str
    quantity: int


@dataclass(frozen=True)
class Everything:
    """Input with a field of every type."""

    text: str
    count: int
    share: float
    flag: bool
    lines: list[Line]
    pair: tuple[str, int]
    many: tuple[int, ...]
    by_name: dict[str, int]
    note: str | None = None
    first: Line | None = None


VALUE = Everything(
    text="ä☕",
    count=3,
    share=0.5,
    flag=True,
    lines=[Line("A", 1)],
    pair=("x", 1),
    many=(1, 2),
    by_name={"a": 1},
    first=Line("B", 2),
)
DATA = {
    "text": "ä☕", "count": 3, "share": 0.5, "flag": True, "lines": [{"sku": "A", "quantity": 1}], "pair": ["x", 1],
    "many": [1, 2], "by_name": {"a": 1}, "note": None, "first": {"sku": "B", "quantity": 2},
}  # fmt: skip


def test_input_survives_a_json_round_trip() -> None:
    assert inputs.dump(Everything, VALUE) == DATA
    assert inputs.load(Everything, DATA) == VALUE


def test_missing_input_is_an_empty_object() -> None:
    assert inputs.dump(None, None) == {}
    assert inputs.load(None, {"left": "over"}) is None
    with pytest.raises(InputRefused):
        inputs.dump(None, VALUE)


WRONG = {
    "number for text": {"text": 1},
    "text for a number": {"count": "3"},
    "true for a number": {"count": True},
    "fraction for a number": {"count": 3.5},
    "number for true": {"flag": 1},
    "no list": {"lines": "A"},
    "wrong line": {"lines": [{"sku": "A"}]},
    "line with more": {"lines": [{"sku": "A", "quantity": 1, "price": 2}]},
    "pair of three": {"pair": ["x", 1, 2]},
    "text among numbers": {"many": [1, "2"]},
    "value of a wrong type": {"by_name": {"a": "1"}},
    "none where text is needed": {"text": None},
    "neither text nor none": {"note": 5},
    "no object": {"first": [1]},
}


@pytest.mark.parametrize("case", WRONG)
def test_data_of_the_wrong_type_are_refused(case: str) -> None:
    with pytest.raises(InputRefused):
        inputs.load(Everything, {**DATA, **WRONG[case]})


@pytest.mark.parametrize(
    "data", [None, [], "text", {**DATA, "extra": 1}, {k: v for k, v in DATA.items() if k != "text"}]
)
def test_wrong_shape_is_refused(data: Any) -> None:
    with pytest.raises(InputRefused):
        inputs.load(Everything, data)


def test_integers_are_accepted_as_floats() -> None:
    assert inputs.load(Everything, {**DATA, "share": 2}).share == 2.0


@dataclass(frozen=True)
class Notes:
    """Input with arbitrary keys."""

    facts: dict[str, str] = field(default_factory=dict)


STORABLE = [{"a": "x"}, {"author": "x"}, {"pants": "x"}, {"tokens_left": "3"}, {"spanish": "x"}]
SECRET = ["password", "PASSWORD", "user_password", "secret", "api_key", "apikey", "card_number", "pan", "cvc", "iban",
          "access_token", "authorization", "private_key"]  # fmt: skip


@pytest.mark.parametrize("facts", STORABLE)
def test_harmless_keys_are_stored(facts: dict[str, str]) -> None:
    assert inputs.dump(Notes, Notes(facts)) == {"facts": facts}


@pytest.mark.parametrize("key", SECRET)
def test_secret_like_key_is_refused_rather_than_masked(key: str) -> None:
    with pytest.raises(InputRefused, match="secret"):
        inputs.dump(Notes, Notes({key: "x"}))


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "x" * 65_600])
def test_text_that_the_database_cannot_store_is_refused(text: str) -> None:
    with pytest.raises(InputRefused):
        inputs.dump(Notes, Notes({"a": text}))


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\\", "\u2028"])
def test_text_that_only_looks_dangerous_is_stored(text: str) -> None:
    assert inputs.dump(Notes, Notes({"a": text})) == {"facts": {"a": text}}


@pytest.mark.parametrize("share", [float("nan"), float("inf"), float("-inf")])
def test_number_without_a_json_form_is_refused(share: float) -> None:
    with pytest.raises(InputRefused):
        inputs.dump(Everything, Everything(**{**VALUE.__dict__, "share": share}))


def test_value_of_another_class_is_refused() -> None:
    with pytest.raises(InputRefused):
        inputs.dump(Everything, Line("A", 1))


def test_result_may_be_as_large_as_its_limit() -> None:
    inputs.require_storable({"a": "x" * 10}, "it", 19)
    with pytest.raises(InputRefused):
        inputs.require_storable({"a": "x" * 11}, "it", 19)


@dataclass
class Thawed:
    """Mutable input."""

    a: str


WITH_BYTES = make_dataclass("WithBytes", [("a", bytes)], frozen=True)
WITH_ANY_KEYS = make_dataclass("WithAnyKeys", [("a", dict[int, str])], frozen=True)
WITH_SECRET = make_dataclass("WithSecret", [("card_number", str)], frozen=True)
WITH_NESTED_SECRET = make_dataclass("WithNestedSecret", [("inner", WITH_SECRET)], frozen=True)
WITH_BARE_LIST = make_dataclass("WithBareList", [("a", list)], frozen=True)


@pytest.mark.parametrize(
    "schema", [Thawed, WITH_BYTES, WITH_ANY_KEYS, WITH_SECRET, WITH_NESTED_SECRET, WITH_BARE_LIST, dict, VALUE]
)
def test_unsupported_schema_is_refused(schema: Any) -> None:
    with pytest.raises(DefinitionError):
        inputs.check_schema(schema)


def test_description_has_names_and_types() -> None:
    assert inputs.describe(Line) == [["sku", "str"], ["quantity", "int"]]
    assert inputs.describe(Everything)[4] == ["lines", ["list", [["sku", "str"], ["quantity", "int"]]]]
    assert inputs.describe(None) is None


@dataclass(frozen=True)
class Card:
    """Card payment."""

    id: str


@dataclass(frozen=True)
class Invoice:
    """Invoice payment."""

    id: str


@dataclass(frozen=True)
class Payment:
    """Union of two classes with the same JSON form."""

    by: Card | Invoice


@dataclass(frozen=True)
class InCents:
    """Input that changes its amount at each reading."""

    amount: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "amount", self.amount * 100)


@dataclass(frozen=True)
class Upper:
    """Input that normalises its code."""

    code: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", self.code.upper())


@dataclass(frozen=True)
class Share:
    """Input with a float."""

    of: float


@dataclass(frozen=True)
class Either:
    """Input with an integer or a float."""

    value: float | int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Payment(Invoice("1")), "Payment.by is a Invoice, but would be read back as a Card"),
        (InCents(1), "InCents.amount is 100, but would be read back as 10000"),
        (Share(2**53 + 1), "Share.of is 9007199254740993, but would be read back as 9007199254740992.0"),
        (Share(10**400), "Share.of is out of range for a float."),
    ],
)
def test_input_that_changes_in_a_round_trip_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InputRefused) as caught:
        inputs.dump(type(value), value)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("value", [Payment(Card("1")), Upper("a"), Share(1), Either(2**53 + 1), Either(0.5)])
def test_input_that_survives_a_round_trip_is_accepted(value: Any) -> None:
    read = inputs.load(type(value), inputs.dump(type(value), value))
    assert (read, repr(read.value) if isinstance(value, Either) else "") == (
        value, repr(value.value) if isinstance(value, Either) else ""
    )  # fmt: skip


@dataclass(frozen=True)
class Node:
    """Recursive input."""

    next: Node | None = None


@dataclass(frozen=True)
class Elsewhere:
    """Input that names an unknown class."""

    what: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass(frozen=True)
class Passed:
    """Input with a value that is not stored."""

    code: str
    salt: InitVar[str] = "s"


@dataclass(frozen=True)
class Computed:
    """Input with a computed field."""

    code: str
    length: int = field(init=False, default=0)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Node, "Node contains itself"),
        (Elsewhere, "The types of Elsewhere cannot be read (NameError: name 'Nowhere' is not defined)"),
        (Passed, "Passed.salt is an InitVar, which is not stored: make it a field."),
        (Computed, "Computed.length has init=False, so it cannot be read back: make it a property."),
    ],
)
def test_class_without_a_round_trip_is_refused_at_declaration(schema: type, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        inputs.check_schema(schema)
    assert str(caught.value).startswith(message)
