"""Declarations of events and handlers: what is refused at import, with the reason."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from django.core.exceptions import ImproperlyConfigured

from sagas.events import EventRefused, Personal, catalogue, declaration, event, handlers, on
from sagas.events.declaration import find_type, type_of
from sagas.exceptions import DefinitionError

from .world import CONSUMER, SENDER, Paid


@pytest.fixture(autouse=True)
def _only_known_events() -> Iterator[None]:
    """Forget what a test declares."""
    types, functions = declaration.list_types(), handlers.list_handlers()
    yield
    for found in declaration.list_types():
        if found not in types:
            declaration.forget(found.schema)
    for handler in handlers.list_handlers():
        if handler not in functions:
            handlers.forget(handler.function)


def make(name: str = "TestMade", hints: dict[str, Any] | None = None, **options: Any) -> Any:
    """Declare an event with these fields."""
    hints = {"order_id": str} if hints is None else hints
    return event(name, **options)(type("Made", (), {"__annotations__": hints, "__module__": __name__}))


def test_event_is_a_frozen_dataclass_with_keywords() -> None:
    made = make(key="order_id", version=3, sender=SENDER, upcasters={2: dict})
    one = made(order_id="ORD-1")
    with pytest.raises(AttributeError, match="cannot assign to field 'order_id'"):
        one.order_id = "ORD-2"
    with pytest.raises(TypeError, match="positional"):
        made("ORD-1")
    declared = type_of(made)
    assert (declared.name, declared.version, declared.key, declared.wire_key) == ("TestMade", 3, "order_id", "orderId")
    assert (declared.key_of(one), find_type("TestMade"), find_type("TestOther")) == ("ORD-1", declared, None)


def test_sender_is_the_app_of_the_module_unless_named() -> None:
    assert catalogue.sender_of(type_of(make(sender=SENDER))) == "payments"
    assert catalogue.sender_of(type_of(make("TestOwn"))) == ""  # tests are in no app
    own = type("Own", (), {"__annotations__": {"order_id": str}, "__module__": "inventory.events"})
    assert catalogue.sender_of(type_of(event("TestOfApp")(own))) == "inventory"


@pytest.mark.parametrize("name", ["", "1st", "Paid Twice", "Paid/Twice", "_Paid", "ü", "P" * 101, None, 7])
def test_name_that_is_no_topic_is_refused(name: Any) -> None:
    with pytest.raises(DefinitionError, match=r"name .* must begin with a letter and hold at most 100"):
        make(name)
    with pytest.raises(DefinitionError, match="flow"):
        make("TestMade", flow=name)
    assert find_type("TestMade") is None


@pytest.mark.parametrize("version", [0, -1, 1000, 1.0, "1", True, None])
def test_version_is_a_whole_number(version: Any) -> None:
    with pytest.raises(DefinitionError, match="version must be a whole number from 1 to 999"):
        make(version=version)


def test_key_names_a_field() -> None:
    with pytest.raises(DefinitionError, match="has no field 'order' for its key; it has: order_id"):
        make(key="order")


@pytest.mark.parametrize("old", [0, 2, 3, "1", 1.0])
def test_upcasters_lead_from_older_versions(old: Any) -> None:
    with pytest.raises(DefinitionError, match="upcasters lead from older major versions only"):
        make(version=2, upcasters={old: dict})


@dataclass
class Loose:
    """Dataclass that is not frozen."""

    order_id: str


@dataclass(frozen=True)
class Inner:
    """Dataclass with a field that JSON cannot carry."""

    when: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Small:
    """Order of one SKU."""

    sku: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """Line of an order."""

    sku: str
    quantity: int = 1


class Plain(NamedTuple):
    """Class that is no dataclass."""

    order_id: str


@pytest.mark.parametrize(
    ("hints", "reason"),
    [
        ({}, "has no field: an event says at least what it is about"),
        ({"order_id": bytes}, "Made.order_id has type"),
        ({"order_id": set[str]}, "Made.order_id has type"),
        ({"order_id": dict[int, str]}, "Made.order_id has type"),
        ({"order_id": "nowhere.Thing"}, "types of Made cannot be read"),
        ({"order_id": Loose}, "Loose must be a frozen dataclass"),
        ({"order_id": Inner}, "Inner.when has type"),
        ({"order_id": Plain}, "Made.order_id has type"),
        ({"card_number": str}, "Made.card_number looks like a secret"),
        ({"order_id": "Small | Line"}, "order_id has type .* cannot be told apart in JSON. Use one class"),
        ({"order_id": "list[str | list[int] | tuple[int, ...]]"}, "cannot be told apart in JSON"),
        ({"order_id": "Line | dict[str, str] | None"}, "cannot be told apart in JSON"),
        ({"order_id": str, "orderId": str}, "two fields that are both called orderId on the wire"),
    ],
)
def test_schema_that_cannot_be_sent_is_refused(hints: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        make(hints=hints)


def test_class_that_is_a_loose_dataclass_is_refused() -> None:
    with pytest.raises(DefinitionError, match="Loose must be a frozen dataclass"):
        event("TestLoose")(Loose)


def test_two_declarations_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"TestPaid is declared twice: by tests.events.world.Paid and by"):
        make("TestPaid")
    assert type_of(Paid).schema is Paid


def test_module_may_be_imported_again() -> None:
    first = make()
    second = make()
    assert type_of(second).schema is second is not first
    assert [declared.schema for declared in declaration.list_types() if declared.name == "TestMade"] == [second]


@pytest.mark.parametrize("given", [Loose, dict, int])
def test_class_that_is_no_event_has_no_handler(given: type) -> None:
    with pytest.raises(DefinitionError, match=f"{given.__name__} is not declared as an event: decorate it with @event"):
        on(given)


async def wait(paid: Paid) -> None:
    """Handle an event later, or never."""


def yield_one(paid: Paid) -> Iterator[None]:
    """Handle an event once iterated, or never."""
    yield


@pytest.mark.parametrize("function", [wait, yield_one])
def test_handler_that_would_not_run_is_refused(function: Any) -> None:
    with pytest.raises(DefinitionError, match="is async or a generator, so nothing would run"):
        on(Paid)(function)


@pytest.mark.parametrize(
    "function",
    [
        lambda: None,
        lambda paid, received, more: None,
        lambda paid, *, received: None,
        lambda *paid: None,
        lambda paid=None: None,
        lambda **paid: None,
    ],
)
def test_handler_takes_the_event_and_perhaps_its_envelope(function: Any) -> None:
    with pytest.raises(DefinitionError, match=r"must take the event, or the event and its envelope"):
        on(Paid)(function)


@pytest.mark.parametrize(
    ("function", "takes_envelope"),
    [(lambda paid: None, False), (lambda paid, received: None, True), (lambda paid, extra=None: None, False)],
)
def test_handler_gets_the_envelope_if_it_asks(function: Any, takes_envelope: bool) -> None:
    on(Paid, consumer="shipping")(function)
    assert catalogue.handlers_of("shipping")["TestPaid"].takes_envelope is takes_envelope


def test_two_handlers_of_one_consumer_are_refused() -> None:
    on(Paid, consumer="shipping")(lambda paid: None)
    on(Paid, consumer="shipping")(lambda paid: None)
    with pytest.raises(ImproperlyConfigured, match=r"shipping handles TestPaid twice.*Let one function do both"):
        catalogue.handlers_of("shipping")
    assert list(catalogue.handlers_of(CONSUMER)) == ["TestPaid", "TestVoided", "TestNoticed"]


def test_consumers_of_several_apps_each_handle_an_event() -> None:
    on(Paid, consumer="shipping")(lambda paid: None)
    assert catalogue.consumers_of(type_of(Paid)) == ["inventory", "shipping"]


def test_sender_that_is_no_app_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="'cellar' is not the label of an installed app"):
        catalogue.database_of("cellar")


def first_to_second(data: dict[str, Any]) -> dict[str, Any]:
    """Turn one SKU into lines."""
    return {"orderId": data["orderId"], "lines": [{"sku": data["sku"]}]}


def second_to_third(data: dict[str, Any]) -> dict[str, Any]:
    """Add the currency that all had."""
    return {**data, "currency": "GBP"}


@pytest.fixture
def third() -> Any:
    """Declare the third major version of an event, which reads all older ones."""

    @event("TestThird", key="order_id", version=3, upcasters={1: first_to_second, 2: second_to_third})
    class Third:
        order_id: str
        lines: list[Line]
        currency: str
        note: Personal[str] = ""
        tags: list[str] = field(default_factory=list)

    return Third


# As they were once sent; they are read for as long as a topic, an inbox or a dead letter may hold one.
GOLDEN = [
    (1, {"orderId": "ORD-1", "sku": "TEA"}),
    (2, {"orderId": "ORD-1", "lines": [{"sku": "TEA"}]}),
    (3, {"orderId": "ORD-1", "lines": [{"sku": "TEA", "quantity": 1}], "currency": "GBP"}),
    (3, {"orderId": "ORD-1", "lines": [{"sku": "TEA", "colour": "green"}], "currency": "GBP", "since": {"v": 4}}),
]


@pytest.mark.parametrize(("version", "data"), GOLDEN)
def test_golden_old_events_are_read(third: Any, version: int, data: dict[str, Any]) -> None:
    before = repr(data)
    assert type_of(third).load(data, version) == third(order_id="ORD-1", lines=[Line(sku="TEA")], currency="GBP")
    assert repr(data) == before


@pytest.mark.parametrize(("version", "can"), [(0, False), (1, True), (2, True), (3, True), (4, False)])
def test_versions_that_can_be_read(third: Any, version: int, can: bool) -> None:
    assert type_of(third).can_read(version) is can


def test_version_without_upcaster_is_refused() -> None:
    made = make(version=3, upcasters={2: dict})
    assert [version for version in range(5) if type_of(made).can_read(version)] == [2, 3]
    with pytest.raises(EventRefused, match="TestMade has no upcaster from major version 1 to 2"):
        type_of(made).load({"orderId": "ORD-1"}, 1)


def test_failing_upcaster_is_named(third: Any) -> None:
    with pytest.raises(EventRefused, match=r"upcaster of TestThird from major version 1 failed: KeyError: 'sku'"):
        type_of(third).load({"orderId": "ORD-1"}, 1)
