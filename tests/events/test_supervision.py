"""Supervision: relays per database, reconciliation, trimming, and one alert for each trouble."""

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction

from sagas import clock
from sagas.alerts import EventAlert, send_mail
from sagas.events import catalogue, publish, relay, supervision
from sagas.events.operations import Order, replay_event
from sagas.events.overview import read_overview
from sagas.events.supervision import Keeper, declare_catalogue, supervise, trim_topics
from sagas.events.transports.memory import Broker, MemoryTransport
from sagas.events.troubles import find_troubles, raise_troubles
from sagas.models import EventConsumer, EventTrouble
from sagas.worker import lifecycle

from . import world
from .world import Behaviour, Paid

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

BOUND_SECONDS = 20.0


def write(*events: Any) -> None:
    """Publish without relaying."""
    alias = catalogue.database_of(world.SENDER)
    for one in events:
        with transaction.atomic(using=alias):
            publish(one)


def reasons(participant: str) -> dict[str, int]:
    """Return the troubles of a participant, with their marks."""
    found = find_troubles(read_overview(catalogue.database_of(participant)))
    return {trouble.reason: trouble.mark for trouble in found if trouble.participant == participant}


def alerts(participant: str, **options: Any) -> list[str]:
    """Raise the troubles of a participant, and return which alerts are sent."""
    raised = raise_troubles(read_overview(catalogue.database_of(participant)), **options)
    return [alert.reason for alert in raised if alert.participant == participant]


def beat(seconds_ago: float = 0) -> None:
    alias = catalogue.database_of(world.CONSUMER)
    seen_at = clock.read_now(alias) - timedelta(seconds=seconds_ago)
    EventConsumer.objects.using(alias).update_or_create(
        consumer=world.CONSUMER,
        name="host:1",
        defaults={"transport": "memory", "started_at": seen_at, "seen_at": seen_at},
    )


class Supervisor:
    """Supervision in a thread of its own."""

    def __init__(self, aliases: Sequence[str]) -> None:
        self.stop = threading.Event()
        self.raised: list[EventAlert] = []
        self.sent: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, args=(aliases,))

    def _run(self, aliases: Sequence[str]) -> None:
        self.sent = supervise(aliases, should_stop=self.stop.is_set, announce=self.raised.extend)

    def __enter__(self) -> "Supervisor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(BOUND_SECONDS)
        assert not self._thread.is_alive()


def wait_until_sent(count: int) -> None:
    end = time.monotonic() + BOUND_SECONDS
    while [row.state for row in world.outbox()] != ["sent"] * count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_loop_sends_what_is_published_until_it_is_stopped(flow: Behaviour) -> None:
    alias = catalogue.database_of(world.SENDER)
    with Supervisor([alias]) as running:
        write(Paid(order_id="ORD-1"))
        wait_until_sent(1)
    assert running.sent == {alias: 1}


def test_database_that_is_away_does_not_stop_the_others(flow: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    alias, relay_all, tried = catalogue.database_of(world.SENDER), relay.relay_all, threading.Event()

    def fail_elsewhere(found: str, **options: Any) -> int:
        if found == "away":
            tried.set()
            raise OperationalError("no route to host")
        return relay_all(found, **options)

    monkeypatch.setattr(relay, "relay_all", fail_elsewhere)
    monkeypatch.setattr(supervision.Keeper, "run", lambda *_, **__: None)
    write(Paid(order_id="ORD-1"))
    with Supervisor(["away", alias]):
        wait_until_sent(1)
        assert tried.wait(BOUND_SECONDS)


def test_broker_that_comes_back_gets_everything(flow: Behaviour, broker: Broker) -> None:
    broker.is_away = True
    write(Paid(order_id="ORD-1"))
    with Supervisor([catalogue.database_of(world.SENDER)]):
        time.sleep(0.1)
        broker.is_away = False
        wait_until_sent(1)


def test_declaration_waits_for_the_broker(flow: Behaviour, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_wait", lambda *_: setattr(broker, "is_away", False))
    broker.is_away = True
    assert declare_catalogue(should_stop=lambda: False)
    assert "tests" in broker.topics
    assert (world.CONSUMER, "tests") in broker.groups
    assert not declare_catalogue(should_stop=lambda: True)


def test_worker_relays_beside_its_sweep(flow: Behaviour, broker: Broker) -> None:
    write(Paid(order_id="ORD-1"))
    lifecycle._start_threads()
    try:
        assert {thread.name for thread in threading.enumerate()} >= {"sagas-sweeper", "sagas-events"}
        wait_until_sent(1)
        assert "tests" in broker.topics
    finally:
        lifecycle._stop_threads()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("sagas-relay-", "sagas-event"))]


def test_worker_does_nothing_while_events_are_off(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SAGAS = {**settings.SAGAS, "EVENTS": {}}
    monkeypatch.setattr(supervision, "supervise", lambda *_, **__: pytest.fail("supervised"))
    supervision.supervise_all(should_stop=lambda: False, announce=lambda _: None)


def test_topics_are_trimmed_for_all_consumers_of_the_catalogue(
    flow: Behaviour, event_settings: Any, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_settings(PARTICIPANTS=["payments"])
    given: list[Any] = []
    monkeypatch.setattr(MemoryTransport, "trim", lambda _, topics, pairs: given.extend(pairs) or 7)
    assert trim_topics() == 7
    assert (world.CONSUMER, ("tests",)) in given
    broker.is_away = True
    monkeypatch.setattr(MemoryTransport, "trim", lambda self, *_: self.send([]))
    assert trim_topics() == 0


def test_keeper_reconciles_and_alerts(flow: Behaviour) -> None:
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    clock.move(timedelta(minutes=2))
    raised: list[EventAlert] = []
    Keeper(catalogue.event_databases(), raised.extend).run()
    assert [row.settled_at is not None for row in world.outbox()] == [True]
    assert [alert.reason for alert in raised] == ["outbox_late"], "the answer of inventory was never relayed"


def test_late_outbox_is_a_trouble_that_is_alerted_once(flow: Behaviour) -> None:
    write(Paid(order_id="ORD-1"))
    assert reasons(world.SENDER) == {}
    clock.move(timedelta(seconds=61))
    assert [alerts(world.SENDER), alerts(world.SENDER)] == [["outbox_late"], []]
    relay.relay_all(catalogue.database_of(world.SENDER))
    assert alerts(world.SENDER) == []
    assert not EventTrouble.objects.using(catalogue.database_of(world.SENDER)).filter(participant="payments").exists()
    write(Paid(order_id="ORD-2"))
    clock.move(timedelta(seconds=61))
    assert alerts(world.SENDER) == ["outbox_late"]


def test_dead_letters_are_alerted_again_when_there_are_more(flow: Behaviour) -> None:
    beat()
    flow.fails = {"ORD-1": ValueError("no shelf"), "ORD-2": ValueError("no shelf")}
    for key in ("ORD-1", "ORD-2"):
        world.send(Paid(order_id=key))
        for _ in range(4):
            world.consume()
            clock.move(timedelta(seconds=2))
        beat()
        assert [alerts(world.CONSUMER), alerts(world.CONSUMER)] == [["dead_letters"], []]


def test_events_that_wait_too_long_for_another_are_a_trouble(flow: Behaviour) -> None:
    flow.needs.add("ORD-1")
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    clock.move(timedelta(seconds=299))
    beat()
    assert reasons(world.CONSUMER) == {}
    clock.move(timedelta(seconds=2))
    assert set(reasons(world.CONSUMER)) == {"not_yet_late"}


def test_parked_and_missing_events_are_troubles(flow: Behaviour, broker: Broker) -> None:
    alias = catalogue.database_of(world.SENDER)
    world.send(Paid(order_id="ORD-2"))
    [row] = world.outbox()
    row.resends = 5
    row.save(using=alias)
    clock.move(timedelta(minutes=31))
    assert reasons(world.SENDER) == {}
    clock.move(timedelta(minutes=2))
    assert reasons(world.SENDER) == {"events_missing": row.pk}
    broker.refuses.add("TestPaid")
    write(Paid(order_id="ORD-1"))
    for _ in range(12):
        clock.move(timedelta(seconds=61))
        relay.relay_all(alias)
    assert reasons(world.SENDER) == {"events_missing": row.pk, "outbox_parked": world.outbox()[-1].pk}


def test_consumer_that_is_not_seen_is_a_trouble_once_it_had_time_to_start(flow: Behaviour) -> None:
    assert alerts(world.CONSUMER, running_for=timedelta(seconds=60)) == []
    assert alerts(world.CONSUMER, running_for=timedelta(seconds=61)) == ["consumer_unseen"]
    assert alerts(world.CONSUMER, running_for=timedelta(seconds=1)) == []
    assert alerts(world.CONSUMER, running_for=timedelta(seconds=61)) == [], "a process that starts forgets nothing"
    beat(29)
    assert reasons(world.CONSUMER) == {}
    beat(31)
    assert set(reasons(world.CONSUMER)) == {"consumer_unseen"}


def test_process_without_a_participant_leaves_its_troubles_alone(flow: Behaviour, event_settings: Any) -> None:
    assert alerts(world.CONSUMER) == ["consumer_unseen"]
    event_settings(PARTICIPANTS=[world.SENDER])
    assert alerts(world.CONSUMER) == []
    event_settings()
    assert alerts(world.CONSUMER) == []


def test_event_that_is_sent_again_is_not_late_at_once(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"))
    clock.move(timedelta(days=1))
    order = Order(event_id=str(event_id), actor="ada", reason="the topic was deleted")
    replay_event(order)
    assert reasons(world.SENDER) == {}
    clock.move(timedelta(seconds=61))
    assert set(reasons(world.SENDER)) == {"outbox_late"}


def test_alert_is_mailed_with_what_to_do(flow: Behaviour, settings: Any, mailoutbox: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "ALERT_EMAILS": ["night@example.com"]}
    write(Paid(order_id="ORD-1"))
    clock.move(timedelta(seconds=61))
    raised = raise_troubles(read_overview(catalogue.database_of(world.SENDER)))
    [alert] = [alert for alert in raised if alert.participant == world.SENDER]
    send_mail(alert)
    [mail] = mailoutbox
    assert mail.subject == "[sagas] outbox late: payments"
    assert mail.body.startswith(
        "Events of payments need an operator: 1 events are unsent, the oldest for 61 s. Check the broker, and that a"
        " worker or outbox_relay --loop runs.\nRaised at "
    )
    assert alert.as_dict()["id"] == f"payments:outbox_late:{alert.at.isoformat()}"
    assert "ORD-1" not in mail.body
