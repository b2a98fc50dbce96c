"""Commands of events: wrong calls, exit codes and reports; tests/events proves what they do."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.db import connections, transaction

from sagas import clock
from sagas.events import catalogue, publish
from sagas.events.transports.memory import Broker
from sagas.models import EventConsumer, EventOperation, EventTrouble
from sagas.worker.sweeper import worker_name
from tests.events import world
from tests.events.conftest import broker, event_settings, flow, url
from tests.events.world import Behaviour, Paid

from .cases import WHY, run_command

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
__all__ = ["broker", "event_settings", "flow", "url"]

CONSUMER = ("--consumer", world.CONSUMER)
OPERATIONS = [("event_retry", *CONSUMER), ("event_discard", *CONSUMER), ("event_replay",)]
ALL = [
    ("event_topics", "--check"), ("outbox_relay",), ("event_consume", "--once"), ("event_list",),
    *((name, str(uuid4()), *rest, *WHY) for name, *rest in OPERATIONS),
]  # fmt: skip


@pytest.fixture
def dead(flow: Behaviour) -> str:
    """Return the id of an event that is dead in the inbox of inventory."""
    flow.fails["ORD-1"] = ValueError("no shelf")
    [event_id] = world.send(Paid(order_id="ORD-1"))
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    return str(event_id)


@pytest.mark.parametrize("call", ALL, ids=lambda call: call[0])
def test_commands_say_that_events_are_off(call: tuple[str, ...], settings: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "EVENTS": {}}
    done = run_command(*call)
    assert done.code == 1
    assert "Events are off. Set SAGAS['EVENTS']['URL'] to the broker's URL." in done.err


class TestTopics:
    def test_missing_topics_are_found_and_created(self, flow: Behaviour) -> None:
        missing = run_command("event_topics", "--check")
        trial = run_command("event_topics", "--create", "--dry-run")
        created = run_command("event_topics", "--create")
        checked = run_command("event_topics", "--check")

        assert missing.code == 1
        assert "Topic tests does not exist. Run event_topics --create." in missing.out
        assert (trial.code, trial.out) == (0, missing.out)
        assert (created.code, "Topic tests created." in created.out) == (0, True)
        assert (checked.code, checked.out) == (0, "Everything is there.\n")

    def test_json(self, flow: Behaviour) -> None:
        created = run_command("event_topics", "--create", "--json").json
        assert "tests" in created["topics"]
        assert "Topic tests created." in created["created"]
        assert run_command("event_topics", "--check", "--json").json["findings"] == []

    def test_absent_broker_is_an_error(self, flow: Behaviour, broker: Broker) -> None:
        broker.is_away = True
        done = run_command("event_topics", "--check")
        assert (done.code, "was told to be away" in done.err) == (1, True)

    def test_what_to_do_is_required(self, flow: Behaviour) -> None:
        assert run_command("event_topics").code == 2


class TestRelay:
    def test_unsent_events_are_counted_and_sent(self, flow: Behaviour, broker: Broker) -> None:
        broker.is_away = True
        with pytest.raises(Exception, match="away"):
            world.send(Paid(order_id="ORD-1"))
        broker.is_away = False
        clock.move(timedelta(seconds=2))

        trial = run_command("outbox_relay", "--participant", "payments", "--dry-run")
        done = run_command("outbox_relay", "--participant", "payments")

        assert (trial.code, trial.out) == (0, "1 events of payments are unsent.\n")
        assert (done.code, done.out) == (0, "Sent 1 events.\n")
        assert [row.state for row in world.outbox()] == ["sent"]
        assert run_command("outbox_relay", "--json").json == {
            "sent": dict.fromkeys(catalogue.event_databases(), 0), "is_stopped": False,
        }  # fmt: skip

    def test_absent_broker_is_an_error(self, flow: Behaviour, broker: Broker) -> None:
        broker.is_away = True
        assert run_command("outbox_relay").code == 1

    def test_participant_that_publishes_nothing_is_a_wrong_call(self, flow: Behaviour) -> None:
        done = run_command("outbox_relay", "--participant", "nobody")
        assert (done.code, "'nobody' publishes no event that is sent from here" in done.err) == (2, True)


class TestConsume:
    def test_everything_is_consumed_once(self, flow: Behaviour) -> None:
        world.send(Paid(order_id="ORD-1"))
        done = run_command("event_consume", "--once", "--participant", "inventory")
        assert (done.code, done.out) == (0, "inventory: 1 handled; 0 tried again.\n")
        again = run_command("event_consume", "--once", "--participant", "inventory", "--json").json
        assert again == {"consumers": {"inventory": {"retried": 0}}}

    def test_absent_broker_is_an_error(self, flow: Behaviour, broker: Broker) -> None:
        broker.is_away = True
        assert run_command("event_consume", "--once").code == 1

    @pytest.mark.parametrize("here", [[], ["payments"]])
    def test_participant_that_consumes_nothing_here_is_a_wrong_call(
        self, flow: Behaviour, event_settings: Any, here: list[str]
    ) -> None:
        event_settings(PARTICIPANTS=here)
        done = run_command("event_consume", "--once", "--participant", "inventory" if here else "nobody")
        assert done.code in {1, 2}
        assert "handles" in done.err

    def test_check_finds_consumers_of_this_machine_or_of_a_name(self, flow: Behaviour) -> None:
        check = ("event_consume", "--check", "--participant", "inventory")
        alias = catalogue.database_of("inventory")
        now = clock.read_now(alias)
        EventConsumer.objects.using(alias).create(
            consumer="inventory", name="other:1", transport="memory", started_at=now, seen_at=now
        )
        missing = run_command(*check)
        assert (missing.code, "No consumer was seen here lately: inventory." in missing.err) == (1, True)
        assert run_command(*check, "--instance", "other:1").code == 0

        EventConsumer.objects.using(alias).update(name=worker_name())
        found = run_command(*check)
        assert (found.code, found.out) == (0, "Alive: inventory.\n")
        assert run_command(*check, "--json").json == {"alive": {"inventory": True}}

        clock.move(timedelta(seconds=31))
        assert run_command(*check).code == 1


class TestList:
    def test_events_are_listed_with_their_states_everywhere(self, dead: str) -> None:
        done = run_command("event_list", "--wide")
        assert done.code == 0
        assert dead in done.out
        assert "inventory=dead" in done.out
        [event] = run_command("event_list", "--json").json
        assert (event["id"], event["type"], event["key"]) == (dead, "TestPaid", "ORD-1")
        assert (event["outbox"], event["inboxes"]) == ("sent", {"inventory": "dead"})
        assert event["errors"] == {"inventory": "ValueError: no shelf"}

    @pytest.mark.parametrize(
        ("filters", "count"),
        [
            (("--key", "ORD-1"), 1), (("--key", "ORD-2"), 0), (("--type", "TestPaid"), 1), (("--type", "Else"), 0),
            (("--status", "dead"), 1), (("--status", "sent"), 1), (("--status", "parked"), 0),
            (("--participant", "inventory"), 1), (("--participant", "payments"), 1), (("--participant", "orders"), 0),
        ],
    )  # fmt: skip
    def test_filters(self, dead: str, filters: tuple[str, ...], count: int) -> None:
        assert len(run_command("event_list", "--json", *filters).json) == count

    def test_limit_keeps_the_newest(self, flow: Behaviour) -> None:
        flow.answers = False
        world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))
        assert [event["key"] for event in run_command("event_list", "--json", "--limit", "1").json] == ["ORD-2"]

    def test_nothing_found(self, flow: Behaviour) -> None:
        assert run_command("event_list").out == "No matching events.\n"

    def test_unknown_status_is_a_wrong_call(self, flow: Behaviour) -> None:
        assert run_command("event_list", "--status", "lost").code == 2


class TestOperations:
    def test_dead_event_is_retried_by_the_consumer(self, flow: Behaviour, dead: str) -> None:
        flow.fails.clear()
        done = run_command("event_retry", dead, *CONSUMER, *WHY)
        assert (done.code, done.out) == (0, f"TestPaid {dead} of ORD-1 is due now.\n")
        world.consume()
        assert [row.state for row in world.inbox()] == ["handled"]
        [row] = EventOperation.objects.using(catalogue.database_of("inventory"))
        assert (row.operation, row.reason) == ("retry", WHY[1])
        assert "@" in row.actor

    def test_json_of_a_discard_by_an_account(self, dead: str) -> None:
        get_user_model().objects.create_superuser("ada")
        found = run_command("event_discard", dead, *CONSUMER, *WHY, "--user", "ada", "--json").json
        assert (found["operation"], found["state_before"], found["state"]) == ("discard", "dead", "discarded")
        [row] = EventOperation.objects.using(catalogue.database_of("inventory"))
        assert row.actor.startswith("ada")

    def test_account_needs_the_permission(self, dead: str) -> None:
        get_user_model().objects.create_user("eve")
        for name, permission in (("event_retry", "retry"), ("event_discard", "discard"), ("event_replay", "replay")):
            for trial in ((), ("--dry-run",)):
                done = run_command(name, dead, *CONSUMER, *WHY, "--user", "eve", *trial)
                assert (done.code, f"lacks the permission sagas.{permission}_event." in done.err) == (1, True)
        assert [row.state for row in world.inbox()] == ["dead"]
        assert EventOperation.objects.using(catalogue.database_of("inventory")).count() == 0

    def test_replay_runs_one_handler(self, flow: Behaviour, dead: str) -> None:
        flow.fails.clear()
        done = run_command("event_replay", dead, *CONSUMER, *WHY)
        assert (done.code, done.out) == (0, f"The handler ran again on TestPaid {dead} of ORD-1.\n")

    @pytest.mark.parametrize("call", OPERATIONS, ids=lambda call: call[0])
    def test_dry_run_changes_nothing(self, dead: str, call: tuple[str, ...]) -> None:
        name, *rest = call
        done = run_command(name, dead, *rest, *WHY, "--dry-run")
        assert (done.code, done.out.startswith("Dry run: ")) == (0, True)
        assert [row.state for row in (*world.inbox(), *world.outbox())] == ["dead", "sent"]
        assert EventOperation.objects.using(catalogue.database_of("inventory")).count() == 0

    @pytest.mark.parametrize("call", OPERATIONS, ids=lambda call: call[0])
    def test_unknown_event_is_refused(self, flow: Behaviour, call: tuple[str, ...]) -> None:
        name, *rest = call
        done = run_command(name, str(uuid4()), *rest, *WHY)
        assert done.code == 1
        assert "has no event" in done.err or "No outbox here has an event" in done.err

    def test_wrong_calls(self, dead: str) -> None:
        assert run_command("event_retry", dead, *CONSUMER, "--reason", "short").code == 2
        assert run_command("event_retry", dead, *WHY).code == 2
        assert run_command("event_retry", dead, *CONSUMER).code == 2
        assert run_command("event_retry", dead, "--consumer", "nobody", *WHY).code == 2
        assert run_command("event_retry", dead, *CONSUMER, *WHY, "--user", "nobody").code == 2
        assert EventTrouble.objects.using(catalogue.database_of("inventory")).count() == 0


class TestLoops:
    """Commands that run until they are asked to stop."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_consumer_finishes_what_it_handles_and_stops(self, flow: Behaviour, number: signal.Signals) -> None:
        world.send(Paid(order_id="ORD-1"))
        with stopped_when(lambda: bool(world.inbox()), number):
            done = run_command("event_consume", "--participant", "inventory")
        assert (done.code, done.out) == (0, "inventory: 1 handled; 0 tried again.\nStopped on request.\n")
        assert [row.state for row in world.inbox()] == ["handled"]
        assert EventConsumer.objects.using(catalogue.database_of("inventory")).count() == 0

    def test_relay_sends_and_stops(self, flow: Behaviour) -> None:
        with transaction.atomic(using=catalogue.database_of("payments")):
            publish(Paid(order_id="ORD-1"))
        with stopped_when(lambda: [row.state for row in world.outbox()] == ["sent"]):
            done = run_command("outbox_relay", "--loop", "--participant", "payments", "--json")
        assert done.json == {"sent": {catalogue.database_of("payments"): 1}, "is_stopped": True}

    def test_loop_waits_for_the_broker_and_can_be_stopped(self, flow: Behaviour, broker: Broker) -> None:
        broker.is_away = True
        with stopped_when(lambda: True):
            done = run_command("event_consume")
        assert (done.code, done.out) == (0, "Stopped on request.\n")


@contextmanager
def stopped_when(is_done: Callable[[], bool], number: int = signal.SIGTERM) -> Iterator[None]:
    """Send this process a signal as soon as a condition holds."""

    def watch() -> None:
        end = time.monotonic() + 20
        while not is_done() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.2)  # until the command catches signals
        os.kill(os.getpid(), number)
        close_all()

    close_all = connections.close_all
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()
