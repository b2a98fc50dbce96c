"""Pages about events: what each shows, and to whom."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.db.utils import ConnectionHandler
from django.test.utils import CaptureQueriesContext
from django.utils.http import urlencode

from sagas import clock
from sagas.conf import get_settings
from sagas.events import asking, catalogue
from sagas.events.transports.memory import Broker
from sagas.models import EventConsumer, InboxEvent, OutboxEvent, SagaAccess
from tests.events import world
from tests.events.conftest import broker, event_settings, flow, url
from tests.events.world import Behaviour, Noticed, Paid, Voided

from . import trips
from .crawling import Reader, read_html
from .event_pages import CATALOGUE, DEAD, DELIVERY, EVENTS, ONE, _count_anew, link, make_dead
from .pages import LIST, LogIn, read, text_of
from .test_hostile_input import HOSTILE, QUERIES, find_fault

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
__all__ = ["_count_anew", "broker", "event_settings", "flow", "url"]

MOST_QUERIES = 10
UNKNOWN = "0b8ad41c-3c2a-4b0c-9b3c-2f0a2f4f5a11"
_create_connection = ConnectionHandler.create_connection
PAGES = (EVENTS, DEAD, DELIVERY, CATALOGUE, f"{CATALOGUE}asyncapi.json")


def create_connection(handler: ConnectionHandler, alias: str) -> Any:
    """Create a connection; that of the database away is one that tests may open."""
    connection = _create_connection(handler, alias)
    connection.alias = "dynamic" if alias == "away" else alias
    return connection


@contextmanager
def refused() -> Iterator[int]:
    """Yield a port that refuses connections."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


@contextmanager
def unanswered() -> Iterator[int]:
    """Yield a port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class TestAccess:
    @pytest.mark.parametrize("address", PAGES)
    def test_only_users_who_may_view_events_see_their_pages(self, flow: Behaviour, log_in: LogIn, address: str) -> None:
        found = {role: log_in(role).get(address).status_code for role in ("anonymous", "staff", "viewer", "operator")}
        assert found == {"anonymous": 302, "staff": 403, "viewer": 200, "operator": 200}

    @pytest.mark.parametrize("address", PAGES)
    def test_pages_are_not_changed_by_post(self, flow: Behaviour, log_in: LogIn, address: str) -> None:
        assert log_in("admin").post(address).status_code == 405

    @pytest.mark.parametrize("address", PAGES)
    def test_pages_say_that_events_are_off(self, settings: Any, log_in: LogIn, address: str) -> None:
        settings.SAGAS = {**settings.SAGAS, "EVENTS": {}}
        response = log_in("admin").get(address)
        assert response.status_code == 404
        assert "Events are off. Set SAGAS['EVENTS']['URL'] to the broker's URL." in text_of(response)
        assert "Dead letters" not in read(log_in("admin").get(LIST))

    def test_menu_counts_what_waits_for_an_operator(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1", "ORD-2")
        text = read(log_in("viewer").get(LIST))
        assert '<span id="saga-count-dead-letters" class="saga-count saga-count-urgent">2</span>' in text
        assert f'href="{DELIVERY}"' in text


class TestList:
    def test_each_event_is_listed_once_with_its_states(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        response = log_in("viewer").get(EVENTS)
        [shown] = response.context["rows"]
        assert (shown.event.id, shown.event.type, shown.event.key) == (row.event_id, "TestPaid", "ORD-1")
        assert (shown.outbox.word, [(who, badge.word) for who, badge in shown.inboxes]) == (
            "sent", [("inventory", "dead")],
        )  # fmt: skip
        assert shown.url == link(row)
        assert f'href="{link(row).replace("&", "&amp;")}"' in response.content.decode()

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ({"key": "ORD-1"}, 1), ({"key": "ORD-9"}, 0), ({"type": "TestPaid"}, 2), ({"type": "Unknown"}, 0),
            ({"state": "dead"}, 1), ({"state": "handled"}, 1), ({"state": "sent"}, 2), ({"state": "parked"}, 0),
            ({"state": "unsent"}, 1), ({"participant": "payments"}, 2), ({"participant": "inventory"}, 3),
            ({"participant": "inventory", "state": "dead"}, 1), ({"participant": "payments", "state": "dead"}, 0),
            ({"participant": "inventory", "state": "unsent"}, 1), ({"participant": "orders"}, 0),
            ({"id": UNKNOWN}, 0), ({"id": "7"}, 0), ({"correlation": "7"}, 0), ({}, 3),
        ],
    )  # fmt: skip
    def test_filters(self, flow: Behaviour, log_in: LogIn, query: dict[str, str], count: int) -> None:
        make_dead(flow, "ORD-1")
        world.send(Paid(order_id="ORD-2"))
        world.consume()  # answered by an event of inventory, which no relay has sent
        response = log_in("viewer").get(EVENTS, query)
        assert len(response.context["rows"]) == count

    def test_event_is_found_by_id_and_by_correlation(self, flow: Behaviour, log_in: LogIn) -> None:
        [event_id] = world.send(Paid(order_id="ORD-1"), correlation_id="flow-7")
        world.send(Paid(order_id="ORD-2"))
        world.consume()
        client = log_in("viewer")
        [shown] = client.get(EVENTS, {"id": str(event_id)}).context["rows"]
        assert shown.event.id == str(event_id)
        flowed = client.get(EVENTS, {"correlation": "flow-7"}).context["rows"]
        assert [row.event.type for row in flowed] == ["TestStored", "TestPaid"]

    def test_pages_follow_without_gaps_or_repeats(
        self, flow: Behaviour, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sagas.admin.events.list_page.PAGE", 2)
        for number in range(3):
            world.send(Paid(order_id=f"ORD-{number}"))
            world.consume()
        client, address, seen = log_in("viewer"), EVENTS, []
        while address:
            page = client.get(address)
            seen += [(row.event.type, row.event.key) for row in page.context["rows"]]
            address = page.context["older_url"]
        assert seen == [(name, f"ORD-{number}") for number in (2, 1, 0) for name in ("TestStored", "TestPaid")]

    @pytest.mark.parametrize("query", ["state=lost", "before=x", "before=0.1", "key=a&key=b", "type=%00"])
    def test_invalid_query_is_refused(self, flow: Behaviour, log_in: LogIn, query: str) -> None:
        response = log_in("viewer").get(f"{EVENTS}?{query}")
        assert response.status_code == 400
        assert "Nothing is shown." in text_of(response)

    def test_parked_event_without_an_outbox_is_listed(self, flow: Behaviour, log_in: LogIn) -> None:
        world.send(Paid(order_id="ORD-1"))
        world.consume()
        alias = catalogue.database_of(world.CONSUMER)
        InboxEvent.objects.using(alias).update(
            source="/elsewhere", event_id="<b>7</b>", state="parked", error="No authority", handled_at=None
        )
        rows = log_in("viewer").get(EVENTS, {"type": "TestPaid"}).context["rows"]
        assert ("<b>7</b>", True) in [(row.event.id, row.outbox is None) for row in rows]
        assert "<b>7</b>" not in log_in("viewer").get(EVENTS).content.decode()


class TestEvent:
    def test_page_shows_where_the_event_stands(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        response = log_in("supervisor").get(link(row))
        text = read(response)
        for shown in ("TestPaid ORD-1", "ValueError: no shelf", "Traceback", '"amountMinor": 100', "Send again"):
            assert shown in text
        [consumer] = response.context["consumers"]
        assert [choice.label for choice in consumer.choices] == ["Retry now", "Run again", "Discard"]
        assert (consumer.badge.word, consumer.row.attempts) == ("dead", 3)
        [access] = SagaAccess.objects.filter(what="event")
        assert (access.actor, access.detail) == ("supervisor", f"event TestPaid {row.event_id}")

    def test_roles_see_what_they_may(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        viewer, operator = read(log_in("viewer").get(link(row))), read(log_in("operator").get(link(row)))
        assert ("no shelf" in viewer, "Traceback" in viewer, "amountMinor" in viewer) == (False, False, False)
        assert ("no shelf" in operator, "Traceback" in operator, "amountMinor" in operator) == (True, False, False)
        assert ("/retry/" in viewer, "/retry/" in operator, "/discard/" in operator) == (False, True, False)

    def test_personal_data_need_their_own_permission(self, flow: Behaviour, log_in: LogIn) -> None:
        [event_id] = world.send(Noticed(text="private matter"))
        world.consume()
        [row] = world.inbox()
        row.data = {**row.data, "customerName": "Ada Lovelace"}
        row.save(using=catalogue.database_of(world.CONSUMER))
        OutboxEvent.objects.using(catalogue.database_of(world.SENDER)).all().delete()
        client = log_in("supervisor")
        assert "Ada Lovelace" in read(client.get(link(row)))
        user = User.objects.get(username="supervisor")
        user.groups.clear()
        user.user_permissions.set(
            Permission.objects.filter(codename__in=["view_saga", "view_event", "view_event_payload"])
        )
        text = read(client.get(link(row)))
        assert ("private matter" in text, "Ada Lovelace" in text) == (True, False)
        assert '"customerName": "(personal data)"' in text
        assert str(event_id) in text

    def test_page_links_saga_cause_and_what_it_caused(self, flow: Behaviour, log_in: LogIn) -> None:
        saga = trips.start()
        [event_id] = world.send(Paid(order_id="ORD-1"), correlation_id=str(saga.pk))
        world.consume()
        [row] = world.inbox()
        [stored] = world.outbox(world.CONSUMER)
        client = log_in("viewer")
        text = read(client.get(link(row)))
        assert f"{LIST}{saga.pk}/change/" in text
        assert f"?{urlencode({'id': str(stored.event_id), 'source': stored.source})}" in text
        caused = read(client.get(ONE, {"id": str(stored.event_id)}))
        assert f"{ONE}?id={event_id}" in caused

    @pytest.mark.parametrize(
        ("query", "status"), [("", 400), ("?id=7", 404), (f"?id={UNKNOWN}", 404), ("?id=%00", 400)]
    )
    def test_unknown_event_is_refused(self, flow: Behaviour, log_in: LogIn, query: str, status: int) -> None:
        assert log_in("viewer").get(f"{ONE}{query}").status_code == status


class TestDelivery:
    def test_participants_and_blocked_keys(self, flow: Behaviour, broker: Broker, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        broker.is_away = True
        with pytest.raises(Exception, match="away"):
            world.send(Voided(order_id="ORD-2"))
        alias = catalogue.database_of(world.CONSUMER)
        now = clock.read_now(alias)
        EventConsumer.objects.using(alias).create(
            consumer="inventory", name="host:1", transport="memory", started_at=now, seen_at=now, lag=7, lag_at=now
        )
        response = log_in("viewer").get(DELIVERY)
        rows = {one.name: one for one in response.context["rows"]}
        assert (rows["payments"].unsent.text, rows["inventory"].dead.text, rows["inventory"].lag) == ("1", "1", "7")
        assert (rows["inventory"].badge.word, rows["inventory"].seen is not None) == ("needs attention", True)
        [(key, badge, _, event_url, _)] = response.context["blocked"]
        assert (key.key, badge.word, event_url) == ("ORD-1", "dead", link(row))

    def test_unheard_events_and_silent_consumers(self, flow: Behaviour, log_in: LogIn) -> None:
        context = log_in("viewer").get(DELIVERY).context
        assert "TestStored" in [one["name"] for one in context["unheard"]]
        assert "inventory" in context["silent"]
        world.send(Paid(order_id="ORD-1"))
        world.consume()
        assert "inventory" not in log_in("viewer").get(DELIVERY).context["silent"]


def test_catalogue_shows_every_event_and_leads_to_asyncapi(flow: Behaviour, log_in: LogIn) -> None:
    client = log_in("viewer")
    response = client.get(CATALOGUE)
    [paid] = [row for row in response.context["rows"] if row["entry"].event.name == "TestPaid"]
    assert (paid["entry"].sender, paid["entry"].consumers) == ("payments", ("inventory",))
    assert f'href="{CATALOGUE}asyncapi.json"' in read(response)
    document = json.loads(client.get(f"{CATALOGUE}asyncapi.json").content)
    assert (document["asyncapi"], "TestPaid" in document["components"]["messages"]) == ("3.0.0", True)


@pytest.mark.parametrize("outage", [refused, unanswered])
@pytest.mark.parametrize("address", [EVENTS, DEAD, DELIVERY, f"{LIST}log/", "event"])
def test_absent_database_is_named_and_the_rest_is_shown(
    flow: Behaviour, log_in: LogIn, monkeypatch: pytest.MonkeyPatch, outage: Callable[[], Any], address: str
) -> None:
    [row] = make_dead(flow, "ORD-1")
    client, aliases = log_in("viewer"), catalogue.event_databases()
    with outage() as port:
        away = {**connections.settings[aliases[0]], "HOST": "127.0.0.1", "PORT": port}
        monkeypatch.setitem(connections.settings, "away", away)
        monkeypatch.setattr(ConnectionHandler, "create_connection", create_connection)
        monkeypatch.setattr(catalogue, "event_databases", lambda: [*aliases, "away"])
        started = time.monotonic()
        text = read(client.get(link(row) if address == "event" else address))
        took = time.monotonic() - started
    assert "Unreachable:" in text
    assert "database away did not answer" in text
    assert address == f"{LIST}log/" or "TestPaid" in text or "ORD-1" in text
    assert took < 6


def test_slow_statement_of_the_engines_database_is_no_error(flow: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.2)
    own = get_settings().database

    def read_slowly(alias: str) -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")

    answers = asking.ask_each([own], read_slowly)
    assert answers.found == {}
    assert "statement timeout" in answers.unreachable[own]


def test_database_that_hangs_is_not_asked_again_meanwhile(flow: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.2)
    monkeypatch.setattr(ConnectionHandler, "create_connection", create_connection)
    monkeypatch.setitem(connections.settings, "away", connections.settings[get_settings().database])
    asked, is_over = [], threading.Event()

    def read_slowly(alias: str) -> str:
        asked.append(alias)
        is_over.wait(30)
        return "at last"

    first, second = asking.ask_each(["away"], read_slowly), asking.ask_each(["away"], read_slowly)
    assert (first.unreachable, second.unreachable) == ({"away": "no answer within 0.2 s"},) * 2
    assert asked == ["away"]
    is_over.set()
    asking._asked["away"].join(30)
    monkeypatch.setattr(asking, "SECONDS", 30.0)
    assert asking.ask_each(["away"], read_slowly).found == {"away": "at last"}


def test_hostile_events_and_queries_harm_no_page(flow: Behaviour, log_in: LogIn) -> None:
    flow.fails[HOSTILE] = ValueError(HOSTILE)
    world.send(Paid(order_id=HOSTILE), correlation_id=HOSTILE)
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    alias = catalogue.database_of(world.CONSUMER)
    InboxEvent.objects.using(alias).update(
        type=HOSTILE[:100], event_id=HOSTILE, source=HOSTILE, raw=HOSTILE, traceback=""
    )
    [row] = world.inbox()
    client, before = log_in("admin"), (row.state, len(world.outbox()))
    operations = [link(row, name) for name in ("retry", "replay", "discard")]
    addresses = [*PAGES, link(row), *operations, *(f"{page}?{query}" for page in (*PAGES, ONE) for query in QUERIES)]
    addresses += [f"{ONE}?{urlencode({name: HOSTILE})}" for name in ("id", "source")]

    faults = {address: found for address in addresses if (found := find_fault(client.get(address)))}

    assert faults == {}
    assert HOSTILE in read(client.get(link(row)))
    assert (world.inbox()[0].state, len(world.outbox())) == before


def test_every_link_of_the_pages_leads_to_a_page(flow: Behaviour, log_in: LogIn) -> None:
    make_dead(flow, "ORD-1")
    seen: dict[str, int] = {}
    client, queue = log_in("admin"), [EVENTS]
    while queue:
        address = queue.pop()
        response = client.get(address)
        seen[address] = response.status_code
        found = {urljoin(address, one) for one in Reader(read_html(response)).list_addresses("href")}
        queue += [one for one in found - {*seen, *queue} if one.startswith(EVENTS)]
    assert {address: status for address, status in seen.items() if status != 200} == {}
    paths = {address.partition("?")[0].removeprefix(EVENTS) for address in seen}
    assert paths >= {
        "",
        "one/",
        "one/retry/",
        "one/replay/",
        "one/discard/",
        "dead-letters/",
        "delivery/",
        "catalogue/",
    }


@pytest.mark.parametrize("address", [EVENTS, f"{EVENTS}?state=dead", DEAD, DELIVERY, CATALOGUE, "event", "retry"])
def test_each_page_needs_few_queries(flow: Behaviour, log_in: LogIn, address: str) -> None:
    [row] = make_dead(flow, "ORD-1")
    client = log_in("supervisor")
    address = {"event": link(row), "retry": link(row, "retry")}.get(address, address)
    client.get(address)  # the menu's count is kept for some seconds
    with CaptureQueriesContext(connections[get_settings().database]) as asked:
        assert client.get(address).status_code == 200
    counted = [one["sql"] for one in asked if one["sql"].startswith(("SELECT", "INSERT", "WITH", "("))]
    assert len(counted) <= MOST_QUERIES, counted
