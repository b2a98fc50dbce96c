"""Masking: only declared fields that are not personal are shown to readers without the permission."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sagas.events import Personal, event
from sagas.events.declaration import forget
from sagas.events.masking import MASK, mask_personal


@dataclass(frozen=True, kw_only=True)
class Line:
    sku: str
    note: Personal[str] = ""


@dataclass(frozen=True, kw_only=True)
class Place:
    country: str
    street: Personal[str]


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    """Declare an event with personal data in every place."""

    @event("TestMasked", key="order_id", sender="payments", version=2)
    class Masked:
        order_id: str
        lines: list[Line]
        places: dict[str, Place]
        ship_to: Place | None = None
        customer: Personal[str] = ""
        phone: Personal[str] | None = None
        note: str = ""

    yield
    forget(Masked)


def test_personal_fields_are_masked_wherever_they_are() -> None:
    found = mask_personal(
        "TestMasked",
        2,
        {
            "orderId": "ORD-1",
            "lines": [{"sku": "KETTLE", "note": "for Ada"}],
            "places": {"home": {"country": "GB", "street": "Fleet Street"}},
            "shipTo": {"country": "FR", "street": "Rue Ada", "floor": 3},
            "customer": "Ada",
            "phone": "555",
            "note": "plain",
        },
    )
    assert found == {
        "orderId": "ORD-1",
        "lines": [{"sku": "KETTLE", "note": MASK}],
        "places": {"home": {"country": "GB", "street": MASK}},
        "shipTo": {"country": "FR", "street": MASK, "floor": MASK},
        "customer": MASK,
        "phone": MASK,
        "note": "plain",
    }


@pytest.mark.parametrize("value", [{"name": "Ada"}, ["Ada"]])
def test_value_of_another_form_than_declared_is_masked(value: object) -> None:
    assert mask_personal("TestMasked", 2, {"note": value, "shipTo": "Ada", "unknown": 1}) == {
        "note": MASK, "shipTo": MASK, "unknown": MASK,
    }  # fmt: skip


def test_nothing_is_known_of_other_types_and_versions() -> None:
    assert mask_personal("TestMasked", 1, {"orderId": "ORD-1"}) is None
    assert mask_personal("TestUndeclared", 1, {"orderId": "ORD-1"}) is None
