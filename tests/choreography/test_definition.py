"""Declarations: what is wrong in them is said at import, with the step and the option."""

from datetime import timedelta
from typing import Any

import pytest

from sagas import DefinitionError
from sagas.choreography import ChoreographyDefinition, Expected, definition

from .world import Begun, Cancelled, Confirmed, Paid, Refunded, Sale, Stored, Unpaid

META = {"name": "chor-other", "begins_with": Begun, "cancelled_by": Cancelled}
PAYMENT = Expected(after=[Begun], success=[Paid], refusal=[Unpaid], undone=[Refunded])
DECISION = Expected(after=[Paid], success=[Confirmed], is_pivot=True)


def declare(meta: dict[str, Any] | None = None, **steps: Any) -> type[ChoreographyDefinition]:
    """Declare a choreography, which is forgotten again."""
    given = steps or {"payment": PAYMENT, "decision": DECISION}
    meta_class = type("Meta", (), {**META, **(meta or {})})
    try:
        return type("Other", (ChoreographyDefinition,), {"__module__": __name__, "Meta": meta_class, **given})
    finally:
        definition.forget("chor-other", 1)


def test_declaration_is_read() -> None:
    other = declare({"limit": timedelta(minutes=1)})
    assert [(step.name, step.kind.value, step.participant) for step in other.steps] == [
        ("payment", "compensatable", "payments"), ("decision", "pivot", "orders")
    ]  # fmt: skip
    assert other.list_events() == [
        "ChorBegun",
        "ChorPaid",
        "ChorUnpaid",
        "ChorRefunded",
        "ChorConfirmed",
        "ChorCancelled",
    ]
    assert (other.decider(), other.limit, other.deadline) == ("orders", timedelta(minutes=1), None)
    assert other.digest != Sale.digest
    assert Sale.step("stock").limit == timedelta(minutes=2)


@pytest.mark.parametrize(
    ("meta", "steps", "message"),
    [
        ({"name": "Big"}, {}, "must be a stored name"),
        ({"version": 0}, {}, "must be a whole number from 1"),
        ({"limits": 1}, {}, "unknown options: limits"),
        ({"limit": timedelta()}, {}, "must be a positive timedelta"),
        ({"deadline": timedelta(minutes=1)}, {}, "deadline needs on_deadline"),
        ({"on_cancel": "cancel"}, {}, "or its dotted path, not 'cancel'"),
        ({}, {"payment": PAYMENT}, "has 0 pivots; exactly one step decides"),
        ({}, {"Payment": PAYMENT, "decision": DECISION}, "a step name must be a lower-case identifier"),
        ({}, {"decision": DECISION}, "decision comes after ChorPaid, which no step above it sends"),
        ({}, {"payment": PAYMENT, "again": PAYMENT, "decision": DECISION}, "again names ChorPaid, which is expected"),
        (
            {},
            {"payment": PAYMENT, "decision": Expected(after=[Paid], success=[], is_pivot=True)},
            "needs events in both",
        ),
        (
            {},
            {
                "payment": PAYMENT,
                "decision": DECISION,
                "late": Expected(after=[Confirmed], success=[Stored], refusal=[Begun]),
            },
            "late names ChorBegun",
        ),
        (
            {},
            {"decision": Expected(after=[Begun], success=[Confirmed], undone=[Refunded], is_pivot=True)},
            "can neither be refused nor undone",
        ),
    ],
)
def test_mistake_is_said_at_import(meta: dict[str, Any], steps: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        declare(meta, **steps)


def test_name_of_another_saga_is_refused() -> None:
    with pytest.raises(DefinitionError, match="are both saga 'chor-sale' version 1"):
        declare({"name": "chor-sale"})
    assert definition.find("chor-sale", 1) is Sale


def test_meta_is_needed() -> None:
    with pytest.raises(DefinitionError, match="needs a class Meta with name, begins_with, cancelled_by"):
        type("Bare", (ChoreographyDefinition,), {"__module__": __name__})
