"""Page of a choreographed checkout: flow, timeline, events, and where the event is that it waits for."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any
from xml.etree import ElementTree

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sagas import clock
from sagas.bounded_call import NotAnswered
from sagas.choreography import calls
from sagas.choreography.calls import OpenAnswers
from sagas.choreography.definition import CHOREOGRAPHIES, find, forget
from sagas.engine.store.snapshot import SagaSnapshot
from sagas.events import catalogue
from sagas.events.masking import MASK
from sagas.models import InboxEvent, OutboxEvent, Saga, SagaAccess
from sagas.operators import choreographed
from sagas.operators.presentation.flow import Station, list_stations
from tests.admin.conftest import log_in
from tests.admin.pages import LogIn, page_of, read

from . import stories

__all__ = ["log_in"]
pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("events")]


def answers_of(saga: Saga) -> tuple[SagaSnapshot, OpenAnswers]:
    snapshot = SagaSnapshot.load(saga.pk)
    return snapshot, choreographed.read(snapshot, find(saga.definition, saga.version))


def flow_of(saga: Saga) -> list[Station]:
    definition = find(saga.definition, saga.version)
    snapshot, answers = answers_of(saga)
    assert definition is not None
    return list_stations(snapshot.saga, definition, answers, snapshot.now)


def picture_of(response: Any) -> ElementTree.Element:
    return ElementTree.fromstring(response.context["page"].picture)  # noqa: S314 - drawn here


AHEAD = [
    ("ShipmentQuoted", "not due"), ("OrderConfirmed", "not due"), ("ShipmentBooked", "not due"),
    ("StockShipped", "not due"),
]  # fmt: skip
FLOWS = {
    "placed": [("OrderCreated", "unsent"), ("PaymentCompleted", "owed"), ("StockReserved", "not due"), *AHEAD],
    "owed": [("OrderCreated", "done"), ("PaymentCompleted", "done"), ("StockReserved", "owed"), *AHEAD],
    "late": [("OrderCreated", "done"), ("PaymentCompleted", "done"), ("StockReserved", "late"), *AHEAD],
    "dead": [("OrderCreated", "done"), ("PaymentCompleted", "done"), ("StockReserved", "dead"), *AHEAD],
    "completed": [
        ("OrderCreated", "done"), ("PaymentCompleted", "done"), ("StockReserved", "done"), ("ShipmentQuoted", "done"),
        ("OrderConfirmed", "done"), ("ShipmentBooked", "done"), ("StockShipped", "done"),
    ],
    "undone": [
        ("OrderCreated", "done"), ("PaymentCompleted", "done"), ("StockFailed", "refused"),
        ("OrderCancelled", "turned back"), ("PaymentRefunded", "undone"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("story", FLOWS)
def test_flow_shows_what_was_sent_is_owed_and_still_ahead(log_in: LogIn, story: str) -> None:
    saga = stories.STORIES[story]()

    stations = flow_of(saga)
    response = log_in("viewer").get(page_of(saga))

    assert [(one.type, one.badge.word) for one in stations] == FLOWS[story]
    page = response.context["page"]
    assert [tab.label for tab in page.tabs if tab.is_current] == ["Flow"]
    assert {(row.type, row.badge.word) for row in page.flow} == set(FLOWS[story])
    picture = picture_of(response)
    labels = [one.get("aria-label", "") for one in picture.iter("{http://www.w3.org/2000/svg}a")]
    assert [label.partition(" of ")[0] for label in labels] == [name for name, _ in FLOWS[story]]
    assert all(f": {word}" in label for label, (_, word) in zip(labels, FLOWS[story], strict=True))


def test_arrows_lead_from_causes_to_what_follows_them() -> None:
    stations = {one.type: (one.sender, one.column, one.causes) for one in flow_of(stories.make_owed())}

    assert stations == {
        "OrderCreated": ("orders", 0, ()),
        "PaymentCompleted": ("payments", 1, ("OrderCreated",)),
        "StockReserved": ("inventory", 2, ("PaymentCompleted",)),
        "ShipmentQuoted": ("shipping", 3, ("StockReserved",)),
        "OrderConfirmed": ("orders", 4, ("PaymentCompleted", "StockReserved", "ShipmentQuoted")),
        "ShipmentBooked": ("shipping", 5, ("OrderConfirmed",)),
        "StockShipped": ("inventory", 5, ("OrderConfirmed",)),
    }


WHERE = {
    "placed": r"OrderCreated is in the outbox of orders, unsent since \d\d:\d\d:\d\d\.",
    "owed": r"PaymentCompleted is in the broker since \d\d:\d\d:\d\d, and inventory has not handled it; its consumer"
    r" was never seen\.",
    "dead": r"PaymentCompleted is dead at inventory after 10 failed runs: The shelf is locked\.",
}


@pytest.mark.parametrize("story", WHERE)
def test_banner_says_where_the_event_is(log_in: LogIn, story: str) -> None:
    saga = stories.STORIES[story]()
    page = log_in("admin").get(page_of(saga)).context["page"]

    assert re.match(r"(payments|inventory) owes \w+ or \w+ since \d\d:\d\d:\d\d \(.* of 5 min", page.account.headline)
    assert re.fullmatch(WHERE[story], page.account.why[0]) is not None


def test_banner_says_when_the_consumer_was_last_seen_and_offers_to_cancel(log_in: LogIn) -> None:
    saga = stories.make_late()
    stories.see("inventory")
    clock.move(timedelta(minutes=3))
    page = log_in("operator").get(page_of(saga)).context["page"]

    assert page.account.why[0].endswith("its consumer was last seen 3 min ago.")
    assert [choice.label for choice in page.beside] == ["Cancel"]
    refused = {choice.label: choice.refusal for choice in page.refused}
    assert refused["Pause"] == "Nobody commands here: participants react to events. Cancel asks orders."


def test_error_of_a_dead_event_needs_its_permission(log_in: LogIn) -> None:
    saga = stories.make_dead()

    viewer, operator = (read(log_in(name).get(page_of(saga, "events"))) for name in ("viewer", "operator"))

    assert "The shelf is locked." not in viewer
    assert "RuntimeError" in viewer
    assert "The shelf is locked." in operator


def test_answer_that_the_tracker_has_not_recorded_is_found(log_in: LogIn) -> None:
    saga = stories.make_owed()
    stories.shop.consume("inventory")
    page = log_in("viewer").get(page_of(saga)).context["page"]

    assert re.match(r"inventory has answered with StockReserved; it is in the outbox of inv", page.account.why[0])
    assert {row.type: row.badge.word for row in page.flow}["StockReserved"] == "unsent"


def test_strip_says_what_is_owed_by_whom_and_what_is_not_due(log_in: LogIn) -> None:
    saga = stories.make_late()
    strip = log_in("viewer").get(page_of(saga)).context["page"].strip

    assert [(step.name, step.badge.word) for step in strip.steps] == [
        ("payment", "succeeded"), ("stock", "late"), ("quote", "not due"), ("confirmation", "not due"),
        ("shipment", "not due"),
    ]  # fmt: skip
    assert re.fullmatch(r"inventory · 6 min( \d+ s)? of 5 min", strip.steps[1].detail) is not None
    assert strip.steps[1].url == "?tab=flow&step=stock#flow"


def test_events_name_sender_sequence_cause_and_consumers(log_in: LogIn) -> None:
    saga = stories.make_completed()
    InboxEvent.objects.using(catalogue.database_of("payments")).filter(consumer="payments", type="OrderCreated").update(
        duplicates=2
    )
    rows = log_in("viewer").get(page_of(saga, "events")).context["page"].events

    assert [(row.sender, row.sequence, row.type, row.cause) for row in rows[:3]] == [
        ("orders", "1", "OrderCreated", ""), ("payments", "1", "PaymentCompleted", "OrderCreated"),
        ("inventory", "1", "StockReserved", "PaymentCompleted"),
    ]  # fmt: skip
    assert [(one.consumer, one.badge.word, one.note) for one in rows[0].receipts] == [
        ("inventory", "handled", ""), ("payments", "handled", "arrived 3 times"), ("shipping", "handled", ""),
        ("tracker", "handled", ""),
    ]  # fmt: skip
    assert all(row.relayed.startswith("+") for row in rows)
    assert all(one.after.startswith("+") for row in rows for one in row.receipts)


def test_timeline_has_ticks_and_puts_what_turns_back_below_the_axis(log_in: LogIn) -> None:
    saga = stories.make_undone()
    InboxEvent.objects.using(catalogue.database_of("orders")).filter(consumer="orders", type="PaymentCompleted").update(
        duplicates=1
    )
    picture = ElementTree.tostring(picture_of(log_in("viewer").get(page_of(saga, "timeline"))), "unicode")

    names = re.findall(r'stroke="none">(↩ )?(\w+)</', picture)
    assert [name for back, name in names if not back and name[0].isupper()] == [
        "OrderCreated", "PaymentCompleted", "StockFailed"
    ]  # fmt: skip
    assert [name for back, name in names if back] == ["OrderCancelled", "PaymentRefunded"]
    assert re.search(r"orders handled it \d\d:\d\d:\d\d, arrived 1 more time<", picture) is not None
    assert re.search(r"payments took .* from OrderCreated to PaymentCompleted<", picture) is not None


def test_timeline_hatches_what_is_owed(log_in: LogIn) -> None:
    saga = stories.make_late()
    text = read(log_in("viewer").get(page_of(saga, "timeline")))

    assert re.search(r"inventory owes StockReserved or StockFailed for 6 min", text) is not None


def read_data(client: Client, saga: Saga, *codenames: str) -> str:
    User.objects.get(username="viewer").user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return read(client.get(page_of(saga, "events")))


def test_data_need_their_permission_and_personal_fields_another(log_in: LogIn) -> None:
    saga, client = stories.make_owed(), log_in("viewer")

    text = read_data(client, saga, "view_payload")
    assert '"orderId"' not in text
    assert "The data of events need the permission sagas.view_event_payload." in text
    text = read_data(client, saga, "view_event_payload")
    assert '"orderId"' in text
    assert MASK in text
    assert "1 Tea Street" not in text
    assert SagaAccess.objects.filter(saga_id=saga.pk, detail="events without personal data").count() == 1
    text = read_data(client, saga, "view_event_payload", "view_event_personal")
    assert "1 Tea Street" in text
    assert MASK not in text
    assert SagaAccess.objects.filter(saga_id=saga.pk, detail="events").count() == 1


def test_data_are_not_shown_if_the_access_cannot_be_logged(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = stories.make_owed()
    monkeypatch.setattr("sagas.operators.audit.access_log.log_access", lambda *_, **__: False)

    text = read(log_in("admin").get(page_of(saga, "events")))

    assert "OrderCreated" in text
    assert '"orderId"' not in text


def test_data_of_an_unknown_type_count_as_personal(log_in: LogIn) -> None:
    saga, client = stories.make_owed(), log_in("viewer")
    using = catalogue.database_of("payments")
    OutboxEvent.objects.using(using).filter(type="PaymentCompleted").update(
        type="PaymentForgotten", correlation_id=str(saga.pk)
    )

    text = read_data(client, saga, "view_event_payload")

    assert "PaymentForgotten" in text
    assert "of an unknown type, so it needs the permission sagas.view_event_personal" in text


def test_database_that_does_not_answer_is_named(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = stories.make_owed()

    def ask(_alias: str, _read: Callable[[], Any]) -> Any:
        raise NotAnswered("It did not answer within 1 s.")

    home = catalogue.database_of
    monkeypatch.setattr(calls, "ask", ask)
    monkeypatch.setattr(catalogue, "event_databases", lambda: ["default", "away"])
    monkeypatch.setattr(catalogue, "database_of", lambda name: "away" if name == "inventory" else home(name))
    page = log_in("admin").get(page_of(saga, "events")).context["page"]

    assert page.account.why[0] == "The database of inventory does not answer, so it is not known what it did."
    assert page.account.why[1] == "Unreachable, so that their events are not shown: database away."
    receipts = {one.consumer: one.badge.word for row in page.events for one in row.receipts}
    assert receipts["inventory"] == "unreachable"
    assert {choice.label: choice.refusal for choice in page.refused}["Retry now"] == (
        "The database of inventory does not answer, so its calls are not known; try again."
    )


def test_page_of_a_choreography_that_the_code_lacks(log_in: LogIn) -> None:
    saga = stories.make_owed()
    definition = find(saga.definition, saga.version)
    assert definition is not None
    forget(saga.definition, saga.version)
    try:
        flow, events = (read(log_in("viewer").get(page_of(saga, tab))) for tab in ("flow", "events"))
    finally:
        CHOREOGRAPHIES[definition.name, definition.version] = definition

    assert "The code does not have the choreography checkout-events, version 1" in flow
    assert "PaymentCompleted" in events


def test_views_of_the_other_style_show_the_first_view(log_in: LogIn) -> None:
    saga = stories.make_owed()
    client = log_in("viewer")

    for tab in ("graph", "steps"):
        page = client.get(page_of(saga, tab)).context["page"]
        assert [link.label for link in page.tabs] == ["Flow", "Timeline", "Events", "History"]
        assert page.tabs[0].is_current


def test_refresh_returns_the_view(log_in: LogIn) -> None:
    saga, client = stories.make_owed(), log_in("viewer")
    url = page_of(saga).replace("/change/", "/refresh/")

    response = client.get(url)

    parts = response.json()["parts"]
    assert "Picture of the flow" in parts["[data-part=view]"]
    assert "inventory owes StockReserved" in unescape(parts["[data-part=head]"])
    assert client.get(url, headers={"If-None-Match": response["ETag"]}).status_code == 304


@pytest.mark.parametrize("tab", ["flow", "timeline", "events", "history"])
def test_page_never_needs_more_than_ten_queries(log_in: LogIn, monkeypatch: pytest.MonkeyPatch, tab: str) -> None:
    saga, client = stories.make_late(), log_in("supervisor")

    def ask(alias: str, read: Callable[[], Any]) -> Any:
        with CaptureQueriesContext(connections[alias]) as queries:
            answer = read()
        assert len(queries) == 1
        return answer

    monkeypatch.setattr(calls, "ask", ask)
    read(client.get(page_of(saga)))  # the menu counts dead letters every ten seconds
    with CaptureQueriesContext(connection) as queries:
        read(client.get(page_of(saga, tab)))

    assert len([one for one in queries if one["sql"] not in ("BEGIN", "COMMIT")]) <= 10
