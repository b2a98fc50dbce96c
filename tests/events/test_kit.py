"""Test kit of events: what a project's tests do without a broker, inside a TestCase and with pytest-django."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import TestCase, override_settings

from sagas import clock
from sagas.events import EventRefused, catalogue, event, on, publish
from sagas.events.declaration import forget as forget_event
from sagas.events.handlers import forget as forget_handler
from sagas.exceptions import DefinitionError
from sagas.models import InboxEvent, OutboxEvent
from sagas.testing.events import (
    Tried,
    assert_nothing_published,
    deliver,
    deliver_in_every_order,
    drain_inbox,
    published,
)  # fmt: skip

from . import world
from .conftest import EVENTS
from .world import Behaviour, Noticed, Paid, Stored, Voided

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def shelf(db: None, event_settings: Any) -> Iterator[Behaviour]:
    """Run a test in one transaction that is rolled back, with a table for effects."""
    create_table()
    world.behaviour.__init__()  # type: ignore[misc]
    with clock.restored():
        yield world.behaviour


def create_table() -> None:
    with connections[catalogue.database_of(world.CONSUMER)].cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS events_effect (id serial PRIMARY KEY, key text, what text)")


@pytest.fixture
def lonely() -> Iterator[type]:
    """Declare an event that no participant handles."""

    @event("TestLonely", key="order_id", sender=world.SENDER)
    class Lonely:
        order_id: str

    yield Lonely
    forget_event(Lonely)


def test_delivered_event_is_handled_and_its_answer_published(shelf: Behaviour) -> None:
    [row] = deliver(Paid(order_id="ORD-1"), correlation_id="flow-7")
    assert (row.consumer, row.state, row.duplicates) == ("inventory", "handled", 0)
    assert published() == published(Stored) == published(key="ORD-1") == [Stored(order_id="ORD-1")]
    assert published(Paid) == published(key="ORD-2") == []
    assert [sent.correlation_id for sent in world.outbox(world.CONSUMER)] == ["flow-7"]


def test_event_delivered_twice_has_one_effect(shelf: Behaviour) -> None:
    [row] = deliver(Paid(order_id="ORD-1"), times=2)
    assert (row.state, row.duplicates) == ("handled", 1)
    assert world.list_effects() == [("ORD-1", "paid")]
    assert published() == [Stored(order_id="ORD-1")]


def test_failing_handler_fails_the_test_with_its_traceback(shelf: Behaviour) -> None:
    shelf.fails["ORD-1"] = ValueError("no shelf")
    with pytest.raises(AssertionError, match="inventory did not handle TestPaid ORD-1: ValueError: no shelf\nTraceb"):
        deliver(Paid(order_id="ORD-1"))
    assert world.list_effects() == []
    assert_nothing_published()


def test_failure_that_is_expected_is_returned(shelf: Behaviour) -> None:
    shelf.fails["ORD-1"] = ValueError("no shelf")
    [row] = deliver(Paid(order_id="ORD-1"), must_be_handled=False)
    assert (row.state, row.attempts, row.error) == ("retrying", 1, "ValueError: no shelf")


def test_event_that_builds_on_a_missing_one_says_so(shelf: Behaviour) -> None:
    shelf.needs.add("ORD-1")
    with pytest.raises(AssertionError, match=r"ORD-1 is unknown\. Deliver first what it builds on"):
        deliver(Paid(order_id="ORD-1"))


def test_event_behind_a_failed_one_says_so(shelf: Behaviour) -> None:
    shelf.fails["ORD-1"] = ValueError("no shelf")
    deliver(Paid(order_id="ORD-1"), must_be_handled=False)
    with pytest.raises(AssertionError, match="held behind an earlier event of its key that failed"):
        deliver(Paid(order_id="ORD-1", amount_minor=7))


def test_event_without_handler_names_what_is_missing(shelf: Behaviour, lonely: Any) -> None:
    with pytest.raises(AssertionError, match=r"No participant handles TestLonely: write @on\(Lonely\)"):
        deliver(lonely(order_id="ORD-1"))
    with pytest.raises(AssertionError, match="shipping does not handle TestPaid here; inventory does"):
        deliver(Paid(order_id="ORD-1"), consumer="shipping")


def test_class_that_is_no_event_is_refused(shelf: Behaviour) -> None:
    with pytest.raises(DefinitionError, match="dict is not declared as an event"):
        deliver({})


def test_data_that_do_not_fit_are_refused(shelf: Behaviour) -> None:
    with pytest.raises(EventRefused, match=r"Paid.amount_minor must be int, not str"):
        deliver(Paid(order_id="ORD-1", amount_minor="much"))  # type: ignore[arg-type]
    assert InboxEvent.objects.count() == 0


def test_events_that_are_off_are_named(shelf: Behaviour, event_settings: Any) -> None:
    event_settings(URL="")
    for call in (published, assert_nothing_published, drain_inbox, lambda: deliver(Paid(order_id="ORD-1"))):
        with pytest.raises(ImproperlyConfigured, match=r"Events are off.*memory://"):
            call()


def test_published_events_that_should_not_be_are_listed(shelf: Behaviour) -> None:
    deliver(Paid(order_id="ORD-1"))
    assert_nothing_published(Paid, Voided)
    with pytest.raises(AssertionError, match=r"1 events were published:\n  inventory: TestStored ORD-1 {'orderId'"):
        assert_nothing_published()
    with pytest.raises(AssertionError, match="TestStored"):
        assert_nothing_published(Stored)


def test_stored_events_are_tried_until_handled_or_dead(shelf: Behaviour) -> None:
    shelf.fails["ORD-1"] = ValueError("no shelf")
    shelf.needs.add("ORD-2")
    before = clock.shift_seconds()
    for key in ("ORD-1", "ORD-2", "ORD-3"):
        deliver(Paid(order_id=key), must_be_handled=False)
    drain_inbox()
    assert [(row.key, row.state, row.attempts) for row in world.inbox()] == [
        ("ORD-1", "dead", 3), ("ORD-2", "not_yet", 0), ("ORD-3", "handled", 0),
    ]  # fmt: skip
    assert clock.shift_seconds() == before


def test_every_order_is_tried_and_rolled_back(shelf: Behaviour) -> None:
    ends: list[tuple[str, ...]] = []
    tried = deliver_in_every_order(
        [Noticed(text="a"), Noticed(text="b"), Noticed(text="c")],
        lambda: ends.append(tuple(text for _, text, _ in shelf.calls[-3:])),
    )
    # 3 + 3 * 2 + 3 * 2 * 1 moves, because orders share their beginnings.
    assert (tried, len(ends)) == (Tried(orders=6, moves=15), 6)
    assert world.inbox() == []


def test_duplicates_arrive_at_every_place(shelf: Behaviour) -> None:
    def check() -> None:
        assert sorted(world.list_effects()) == [("ORD-1", "paid"), ("ORD-1", "voided")]
        assert published() == [Stored(order_id="ORD-1")]

    tried = deliver_in_every_order([Paid(order_id="ORD-1"), Voided(order_id="ORD-1")], check, times=2)
    assert tried.orders == 6  # 4! / (2! * 2!)
    assert world.list_effects() == []


def test_orders_that_lead_to_one_state_are_continued_once(shelf: Behaviour) -> None:
    events = [Paid(order_id=f"ORD-{number}") for number in range(4)]
    ends: list[int] = []
    tried = deliver_in_every_order(
        events,
        lambda: ends.append(len(world.list_effects())),
        state_of=lambda: tuple(sorted(world.list_effects())),
    )
    # Of each subset one order goes on: 4 + 4 * 3 + 6 * 2 + 4 moves instead of 64, and the last of each ends.
    assert (tried.moves, set(ends)) == (32, {4})


def test_function_runs_at_every_place(shelf: Behaviour) -> None:
    places: list[int] = []

    def cancel() -> None:
        places.append(len(world.list_effects()))

    tried = deliver_in_every_order([Paid(order_id="ORD-1"), Voided(order_id="ORD-1"), cancel], lambda: None)
    assert tried.orders == 6
    assert sorted(places) == [0, 1, 1, 2, 2]


@pytest.fixture
def voiding() -> Iterator[None]:
    """Let payments void what inventory has stored."""

    @on(Stored, consumer=world.SENDER)
    def void(stored: Stored) -> None:
        publish(Voided(order_id=stored.order_id))

    yield
    forget_handler(void)


def test_answers_are_delivered_if_wanted(shelf: Behaviour, voiding: None) -> None:
    ends: list[list[tuple[str, str]]] = []
    paid = Paid(order_id="ORD-1")
    tried = deliver_in_every_order([paid], lambda: ends.append(world.list_effects()), follow=True)
    assert (tried, ends) == (Tried(orders=1, moves=3), [[("ORD-1", "paid"), ("ORD-1", "voided")]])
    # Paid, Stored and Voided; then also what arrives twice, each copy at every later place.
    assert deliver_in_every_order([paid], lambda: None, follow=True, times=2).orders == 15
    assert deliver_in_every_order([paid], lambda: None) == Tried(orders=1, moves=1)


def test_failing_check_names_the_order(shelf: Behaviour) -> None:
    def check() -> None:
        assert world.list_effects()[0] == ("ORD-1", "paid")

    with pytest.raises(AssertionError) as caught:
        deliver_in_every_order([Paid(order_id="ORD-1"), Voided(order_id="ORD-1")], check)
    assert caught.value.__notes__ == ["In this order: 1. TestVoided ORD-1 to inventory; 2. TestPaid ORD-1 to inventory"]
    assert world.list_effects() == []


def test_too_many_orders_are_refused(shelf: Behaviour) -> None:
    events = [Paid(order_id=f"ORD-{number}") for number in range(3)]
    with pytest.raises(AssertionError, match="More than 10 moves in 4 orders"):
        deliver_in_every_order(events, lambda: None, at_most=10)


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_every_order_leaves_nothing_where_tests_commit(flow: Behaviour) -> None:
    tried = deliver_in_every_order([Paid(order_id="ORD-1"), Voided(order_id="ORD-1")], lambda: None)
    assert tried.orders == 2
    assert (world.inbox(), world.outbox(world.CONSUMER), world.list_effects()) == ([], [], [])


@override_settings(SAGAS={"WAKEUP": "none", "EVENTS": {**EVENTS, "URL": "memory://"}})
class KitInTestCase(TestCase):
    """The kit in Django's own test case."""

    databases = "__all__"

    def test_event_is_delivered(self) -> None:
        create_table()
        world.behaviour.__init__()  # type: ignore[misc]
        deliver(Paid(order_id="ORD-1"), times=2)
        assert published(Stored) == [Stored(order_id="ORD-1")]
        assert OutboxEvent.objects.using(catalogue.database_of(world.CONSUMER)).count() == 1
