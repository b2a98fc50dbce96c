"""Pages about events: what each shows, to whom, and what operators do on them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.http import urlencode

from sagas import clock
from sagas.conf import get_settings
from sagas.events import asking, catalogue, dead_count
from sagas.events.transports.memory import Broker
from sagas.models import EventConsumer, EventOperation, InboxEvent, OutboxEvent, SagaAccess
from tests.events import world
from tests.events.conftest import broker, event_settings, flow, url
from tests.events.world import Behaviour, Noticed, Paid, Voided

from . import trips
from .pages import LIST, REASON, LogIn, read, text_of

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
__all__ = ["broker", "event_settings", "flow", "url"]

EVENTS = f"{LIST}events/"
ONE, DEAD, DELIVERY, CATALOGUE = (f"{EVENTS}{name}/" for name in ("one", "dead-letters", "delivery", "catalogue"))
MOST_QUERIES = 10
UNKNOWN = "0b8ad41c-3c2a-4b0c-9b3c-2f0a2f4f5a11"
PAGES = (EVENTS, DEAD, DELIVERY, CATALOGUE, f"{CATALOGUE}asyncapi.json")


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    dead_count.forget()


def make_dead(flow: Behaviour, *keys: str) -> list[InboxEvent]:
    """Return events that are dead with inventory."""
    flow.fails.update({key: ValueError(f"no shelf for {key!r}") for key in keys})
    world.send(*(Paid(order_id=key) for key in keys))
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    rows = [row for row in world.inbox() if row.state == "dead"]
    assert len(rows) == len(keys)
    return rows


def link(row: InboxEvent, operation: str = "", consumer: str | None = world.CONSUMER) -> str:
    query = {"id": row.event_id, "source": row.source, **({"consumer": consumer} if operation and consumer else {})}
    return f"{ONE}{f'{operation}/' if operation else ''}?{urlencode(query)}"


def version_of(client: Client, address: str) -> str:
    return str(client.get(address).context["plan"].version)


def operated() -> list[tuple[str, str, str]]:
    rows = EventOperation.objects.using(catalogue.database_of(world.CONSUMER)).order_by("id")
    return [(row.actor, row.operation, row.reason) for row in rows]


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

    def test_absent_database_is_named_and_the_page_shown(
        self, flow: Behaviour, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalogue, "event_databases", lambda: [get_settings().database, "gone"])
        text = read(log_in("viewer").get(EVENTS))
        assert "Unreachable:" in text
        assert "gone did not answer" in text


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


class TestOperations:
    @pytest.mark.parametrize("operation", ["retry", "replay", "discard"])
    @pytest.mark.parametrize(
        ("role", "allowed"),
        [
            ("anonymous", ()), ("staff", ()), ("viewer", ()), ("operator", ("retry",)),
            ("supervisor", ("retry", "replay", "discard")),
        ],
    )  # fmt: skip
    def test_every_role_on_every_path(
        self, flow: Behaviour, log_in: LogIn, operation: str, role: str, allowed: tuple[str, ...]
    ) -> None:
        [row] = make_dead(flow, "ORD-1")
        flow.fails.clear()
        client, refused = log_in(role), 302 if role == "anonymous" else 403

        got = client.get(link(row, operation))
        before = (world.inbox()[0].state, operated())
        form = {"reason": REASON, "version": version_of(log_in("admin"), link(row, operation))}
        posted = client.post(link(row, operation), form)

        assert before == ("dead", [])
        if operation in allowed:
            assert (got.status_code, posted.status_code, posted["Location"]) == (200, 302, link(row))
            assert operated() == [(role, operation, REASON)]
        else:
            assert (got.status_code, posted.status_code) == (refused, refused)
            assert (world.inbox()[0].state, operated()) == ("dead", [])

    @pytest.mark.parametrize(
        ("operation", "state"), [("retry", "retrying"), ("replay", "handled"), ("discard", "discarded")]
    )
    def test_second_click_does_nothing(self, flow: Behaviour, log_in: LogIn, operation: str, state: str) -> None:
        [row] = make_dead(flow, "ORD-1")
        flow.fails.clear()
        client, address = log_in("supervisor"), link(row, operation)
        form = {"reason": REASON, "version": version_of(client, address)}
        first = client.post(address, form, follow=True)
        second = client.post(address, form, follow=True)
        assert "Done: " in text_of(first)
        assert "Nothing was done: Already done, and only once" in text_of(second)
        assert (world.inbox()[0].state, len(operated())) == (state, 1)
        assert len(world.list_effects()) == (operation == "replay")

    def test_event_that_changed_meanwhile_is_left_alone(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        address = link(row, "retry")
        form = {"reason": REASON, "version": version_of(log_in("supervisor"), address)}
        log_in("operator").post(address, form)
        response = log_in("supervisor").post(address, form)
        assert response.status_code == 409
        assert "has changed since the plan was made: it is retrying now after operator's retry." in text_of(response)
        assert [actor for actor, _, _ in operated()] == ["operator"]
        assert response.context["plan"].version != form["version"]

    def test_event_is_sent_again_to_all(self, flow: Behaviour, log_in: LogIn) -> None:
        world.send(Paid(order_id="ORD-1"))
        world.consume()
        [row] = world.inbox()
        client, address = log_in("supervisor"), link(row, "replay", consumer=None)
        assert "A consumer that has it ignores it" in read(client.get(address))
        client.post(address, {"reason": REASON, "version": version_of(client, address)})
        assert [sent.state for sent in world.outbox()] == ["unsent"]

    def test_handler_that_fails_again_changes_nothing(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        client, address = log_in("supervisor"), link(row, "replay")
        response = client.post(address, {"reason": REASON, "version": version_of(client, address)})
        assert response.status_code == 409
        assert "The handler failed, and TestPaid" in text_of(response)
        assert world.inbox()[0].state == "dead"

    def test_impossible_operation_is_explained(self, flow: Behaviour, log_in: LogIn) -> None:
        world.send(Paid(order_id="ORD-1"))
        world.consume()
        [row] = world.inbox()
        client = log_in("supervisor")
        discard = client.get(link(row, "discard"))
        assert discard.status_code == 409
        assert "Only what was not handled can be discarded." in text_of(discard)
        assert client.get(link(row, "retry", consumer="nobody")).status_code == 400
        assert client.get(f"{ONE}retry/?id=7&consumer=inventory").status_code == 404

    def test_form_errors_are_shown(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        client, address = log_in("supervisor"), link(row, "discard")
        for form in ({"reason": "short", "version": "dead-0"}, {"reason": REASON}):
            response = client.post(address, form)
            assert response.status_code == 400
            assert "the form needs your attention" in text_of(response)
        assert operated() == []

    def test_operator_log_shows_who_did_it_and_why(self, flow: Behaviour, log_in: LogIn) -> None:
        [row] = make_dead(flow, "ORD-1")
        client, address = log_in("operator"), link(row, "retry")
        client.post(address, {"reason": REASON, "version": version_of(client, address)})
        log = f"{LIST}log/"
        shown = log_in("viewer").get(log)
        [(logged, _, event_url)] = shown.context["event_rows"]
        assert (logged.actor, logged.operation, logged.reason) == ("operator", "retry", REASON)
        assert event_url == f"{ONE}?id={row.event_id}"
        assert "TestPaid ORD-1" in read(shown)
        assert log_in("viewer").get(log, {"actor": "ada"}).context["event_rows"] == []
        assert "has_events" not in log_in("viewer").get(log, {"action": "retry"}).context


class TestDeadLetters:
    def test_events_that_fail_alike_are_one_group(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1", "ORD-2")
        [row] = log_in("operator").get(DEAD).context["rows"]
        assert (len(row.group.events), row.group.keys, row.badge.word) == (2, 2, "dead")
        assert row.pattern == "ValueError: no shelf for '…'"
        [seen] = log_in("viewer").get(DEAD).context["rows"]
        assert (seen.pattern, seen.example, seen.retry_url) == ("", "", "")

    def test_group_is_retried_with_a_result_for_each(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1", "ORD-2")
        client = log_in("operator")
        [row] = client.get(DEAD).context["rows"]
        plan = client.get(row.retry_url)
        assert "2 events of 2 keys would be due at once." in read(plan)
        form = {"reason": REASON, "until": plan.context["until"]}
        done = client.post(row.retry_url, form)
        assert "2 of 2 events are due now" in read(done)
        assert [stored.state for stored in world.inbox()] == ["retrying", "retrying"]
        assert operated() == [("operator", "retry", REASON)] * 2
        again = client.post(row.retry_url, form)
        assert (again.status_code, len(operated())) == (409, 2)

    def test_later_events_are_left_alone(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1")
        client = log_in("operator")
        [row] = client.get(DEAD).context["rows"]
        until = client.get(row.retry_url).context["until"]
        flow.fails["ORD-2"] = ValueError("no shelf for 'ORD-2'")
        world.send(Paid(order_id="ORD-2"))
        for _ in range(4):
            world.consume()
            clock.move(timedelta(seconds=2))
        client.post(row.retry_url, {"reason": REASON, "until": until})
        assert [stored.state for stored in world.inbox()] == ["retrying", "dead"]

    def test_many_need_their_number(self, flow: Behaviour, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("operators.dead_letters", "admin.events.group_page"):
            monkeypatch.setattr(f"sagas.{module}.CONFIRM_COUNT_ABOVE", 1)
        make_dead(flow, "ORD-1", "ORD-2")
        client = log_in("operator")
        [row] = client.get(DEAD).context["rows"]
        form = {"reason": REASON, "until": client.get(row.retry_url).context["until"]}
        refused = client.post(row.retry_url, {**form, "count": "3"})
        assert (refused.status_code, "type this number" in text_of(refused), operated()) == (400, True, [])
        assert client.post(row.retry_url, {**form, "count": "2"}).status_code == 200
        assert len(operated()) == 2

    def test_viewer_cannot_retry_a_group(self, flow: Behaviour, log_in: LogIn) -> None:
        make_dead(flow, "ORD-1")
        [row] = log_in("operator").get(DEAD).context["rows"]
        client = log_in("viewer")
        assert (client.get(row.retry_url).status_code, client.post(row.retry_url).status_code) == (403, 403)

    def test_empty_and_unknown_groups(self, flow: Behaviour, log_in: LogIn) -> None:
        client = log_in("operator")
        assert "No event is dead or parked." in read(client.get(DEAD))
        assert client.get(f"{DEAD}0123456789abcdef/retry/").status_code == 409


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


def test_database_that_hangs_is_left_alone_until_it_answers(flow: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.2)
    own = get_settings().database
    others = [alias for alias in catalogue.event_databases() if alias != own] or ["gone"]

    def read_slowly(alias: str) -> int:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.6)")
        return 1

    answers = asking.ask_each([own, *others], read_slowly)
    assert answers.found == {}
    assert set(answers.unreachable) == {own, *others}


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
