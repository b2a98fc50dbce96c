"""Data of events: what is written is read back, what is added is tolerated, all else is refused by name."""

import json
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.events import EventRefused, Personal, json_schema, schema
from sagas.events.cloudevents import digest_of


@dataclass(frozen=True, kw_only=True)
class Place:
    """Nested object."""

    city: str
    post_code: Personal[str] = ""


@dataclass(frozen=True, kw_only=True)
class Everything:
    """Every kind of field."""

    order_id: str
    amount_minor: int
    is_gift: bool
    weight_kg: float
    note: str | None
    home: Place
    stops: list[Place]
    route: tuple[Place, ...]
    pair: tuple[str, int]
    by_day: dict[str, Place]
    either: int | list[str]
    other_home: Place | None = None
    other_stops: list[Place] | dict[str, Place] | str | None = None
    tags: list[str] = field(default_factory=list)


# What PostgreSQL can store: no NUL and no lone surrogate.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
WHOLE = st.integers(-(2**63), 2**63)
PLACES = st.builds(Place, city=TEXTS, post_code=TEXTS)
EVENTS = st.builds(
    Everything,
    order_id=TEXTS,
    amount_minor=WHOLE,
    is_gift=st.booleans(),
    weight_kg=st.floats(allow_nan=False, allow_infinity=False),
    note=st.none() | TEXTS,
    home=PLACES,
    stops=st.lists(PLACES, max_size=3),
    route=st.lists(PLACES, max_size=3).map(tuple),
    pair=st.tuples(TEXTS, WHOLE),
    by_day=st.dictionaries(TEXTS, PLACES, max_size=3),
    either=WHOLE | st.lists(TEXTS, max_size=3),
    other_home=st.none() | PLACES,
    other_stops=st.none() | TEXTS | st.lists(PLACES, max_size=2) | st.dictionaries(TEXTS, PLACES, max_size=2),
    tags=st.lists(TEXTS, max_size=3),
)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=5,
)


def through_json(data: Any) -> Any:
    """Return data as they are on the other side of the wire."""
    return json.loads(json.dumps(data))


@given(EVENTS)
def test_what_is_written_is_read_back(one: Everything) -> None:
    data = through_json(schema.dump(one))
    assert schema.load(Everything, data) == one
    assert schema.dump(schema.load(Everything, data)) == data


@given(EVENTS, st.dictionaries(TEXTS.map("new".__add__), JSON, max_size=3))
def test_unknown_fields_are_ignored_at_every_depth(one: Everything, added: dict[str, Any]) -> None:
    data = through_json(schema.dump(one))
    for place in (data, data["home"], *data["stops"], *data["route"], *data["byDay"].values()):
        place.update(added)
    assert schema.load(Everything, data) == one


@given(EVENTS)
def test_data_fit_their_json_schema(one: Everything) -> None:
    jsonschema.Draft7Validator(json_schema.describe(Everything)).validate(through_json(schema.dump(one)))


@given(st.dictionaries(TEXTS | st.sampled_from(["orderId", "amountMinor", "home", "stops"]), JSON, max_size=6))
def test_foreign_data_are_read_or_refused_and_never_crash(data: dict[str, Any]) -> None:
    with pytest.raises(EventRefused):
        schema.load(Everything, data)


@given(EVENTS)
def test_digest_does_not_depend_on_the_order_of_fields(one: Everything) -> None:
    data = through_json(schema.dump(one))
    turned = dict(reversed(data.items()))
    assert digest_of("Everything", 1, data) == digest_of("Everything", 1, turned)
    assert digest_of("Everything", 1, data) != digest_of("Everything", 2, data)
    assert digest_of("Everything", 1, data) != digest_of("Everything", 1, {**data, "orderId": one.order_id + "x"})


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("order_id", "orderId"), ("sku", "sku"), ("line_2_text", "line2Text"), ("is_EU", "isEU"), ("a__b", "aB"),
        ("orderId", "orderId"), ("x_", "x"),
    ],
)  # fmt: skip
def test_names_are_in_camel_case_on_the_wire(name: str, wire: str) -> None:
    assert schema.to_wire_name(name) == wire


@dataclass(frozen=True, kw_only=True)
class Small:
    """Event with a default and personal data."""

    order_id: str
    place: Place = field(default_factory=lambda: Place(city="London"))
    customer: Personal[str] = ""
    lines: list[Place] = field(default_factory=list)
    by_day: dict[str, list[Place]] = field(default_factory=dict)


def test_additions_have_their_default_in_old_data() -> None:
    assert schema.load(Small, {"orderId": "ORD-1"}) == Small(order_id="ORD-1")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "order_id"),
        ({"order_id": "ORD-1"}, "order_id"),  # the name in Python is not that of the wire
        ({"orderId": 1}, "Small.order_id must be str, not int"),
        ({"orderId": None}, "Small.order_id must be str, not NoneType"),
        ({"orderId": "ORD-1", "place": []}, "Small.place must be an object, not list"),
        ({"orderId": "ORD-1", "place": {"city": 7}}, "Small.place.city must be str, not int"),
        ({"orderId": "ORD-1", "lines": {}}, "Small.lines must be"),
        ({"orderId": "ORD-1", "lines": [{"city": "London"}, 7]}, "Small.lines must be an object, not int"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_field(data: dict[str, Any], reason: str) -> None:
    with pytest.raises(EventRefused, match=reason):
        schema.load(Small, data)


def test_personal_fields_are_found_at_every_depth() -> None:
    assert schema.personal_paths(Small) == ["place.postCode", "customer", "lines[].postCode", "byDay.*[].postCode"]
    assert schema.personal_paths(Everything) == [
        "home.postCode", "stops[].postCode", "route[].postCode", "byDay.*.postCode", "otherHome.postCode",
        "otherStops[].postCode", "otherStops.*.postCode",
    ]  # fmt: skip
