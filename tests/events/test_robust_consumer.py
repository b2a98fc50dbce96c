"""Consumers under outages, races and handlers that misbehave: nothing is lost, counted or done twice."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections, transaction

from sagas import clock
from sagas.events import catalogue, consumer, heartbeat, inbox, publish, relay
from sagas.events.cloudevents import read_message, to_message
from sagas.events.inbox import Arrival, Result
from sagas.events.transports.memory import Broker
from tests.crash_points.children import Child
from tests.participants.side_by_side import run_side_by_side
from tests.servers import url_of_database

from . import world
from .valkey_driver import ValkeyDriver
from .world import Behaviour, Noticed, Paid, Voided

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def own_server() -> Iterator[ValkeyDriver]:
    """Run a server for the processes of this module."""
    driver = ValkeyDriver(None)
    yield driver
    driver.stop()


@pytest.fixture
def hasty(own_server: ValkeyDriver, flow: Behaviour, event_settings: Any) -> ValkeyDriver:
    """Return an empty server that hands over at once what a dead process left."""
    own_server.lose_everything()
    event_settings(URL=own_server.url, OPTIONS=own_server.options(is_hasty=True))
    relay.close_transport()
    return own_server


def wait_until(is_true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.02)


@contextmanager
def running(count: int = 1) -> Iterator[list[consumer.ParticipantConsumer]]:
    """Run consumers in threads of this process."""
    stop = threading.Event()
    runners = [
        consumer.ParticipantConsumer(world.CONSUMER, instance=f"test:{number}", should_stop=stop.is_set)
        for number in range(count)
    ]
    threads = [threading.Thread(target=runner.run) for runner in runners]
    for thread in threads:
        thread.start()
    try:
        yield runners
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)


@contextmanager
def database_away() -> Iterator[None]:
    """Have the server end all connections to the consumer's database and refuse new ones."""
    name = connections[catalogue.database_of(world.CONSUMER)].settings_dict["NAME"]
    connections.close_all()
    with psycopg.connect(url_of_database("postgres"), autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def count_handled() -> int:
    return len([row for row in world.inbox() if row.state == "handled"])


def run_child(run: Callable[[], object], *, disturb: Callable[[Child], object] = lambda child: None) -> int:
    """Run something in another process; return its exit code, negative for a signal."""
    child = Child.start(run)
    disturb(child)
    child.read()
    status = child.wait()
    child.wait_for_sessions_to_end()
    return os.waitstatus_to_exitcode(status)


# Outages


def test_absent_database_pauses_consumption_and_counts_nothing(
    flow: Behaviour, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    alias = catalogue.database_of(world.SENDER)
    with transaction.atomic(using=alias):
        for number in range(5):
            publish(Paid(order_id=f"ORD-{number}"))
    relay.relay_all(alias)
    sent = list(broker.topics["tests"])
    with running() as [runner]:
        wait_until(lambda: count_handled() == 5, "handled before")
        with database_away():
            broker.topics["tests"] += list(sent)  # duplicates, which would be counted
            wait_until(lambda: "Consumer of inventory waits" in caplog.text, "waiting")
            time.sleep(0.5)
            assert runner.tally.counts == {Result.HANDLED: 5}
            assert broker.groups["inventory", "tests"].pending.keys() <= set(range(5, 10))
        wait_until(lambda: sum(runner.tally.counts.values()) == 10, "handled after")
    assert runner.tally.counts == {Result.HANDLED: 5, Result.DUPLICATE: 5}
    assert [(row.state, row.attempts, row.duplicates) for row in world.inbox()] == [("handled", 0, 1)] * 5
    assert len(world.list_effects()) == 5
    assert broker.groups["inventory", "tests"].pending == {}


def test_connection_lost_in_a_handler_is_no_failure_of_the_event(flow: Behaviour) -> None:
    flow.does["ORD-1"] = lambda: (flow.does.clear(), run("SELECT pg_terminate_backend(pg_backend_pid())"))
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))
    with running() as [runner]:
        wait_until(lambda: runner.tally.total == 2, "handled")
    assert [(row.state, row.attempts, row.duplicates) for row in world.inbox()] == [("handled", 0, 0)] * 2
    assert sorted(world.list_effects()) == [("ORD-1", "paid"), ("ORD-2", "paid")]


def test_absent_broker_pauses_consumption(flow: Behaviour, broker: Broker) -> None:
    with running():
        world.send(Paid(order_id="ORD-1"))
        wait_until(lambda: count_handled() == 1, "handled before")
        broker.is_away = True
        wait_until(lambda: _trouble() == "The broker is away: BrokerAway", "trouble shown")
        broker.is_away = False
        world.send(Paid(order_id="ORD-2"))
        wait_until(lambda: count_handled() == 2, "handled after")
        wait_until(lambda: _trouble() == "", "trouble over")
    assert len(world.list_effects()) == 2


def _trouble() -> str:
    [row] = heartbeat.EventConsumer.objects.using(catalogue.database_of(world.CONSUMER)).all() or [None]
    return row.trouble if row else ""


# Processes


def test_sigterm_finishes_the_event_in_hand(hasty: ValkeyDriver, flow: Behaviour) -> None:
    flow.does["ORD-1"] = lambda: (hasty.client.set("begun", 1), time.sleep(1.0))
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))

    def consume_until_told() -> None:
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        consumer.consume([world.CONSUMER], instance="child:1", should_stop=stop.is_set)

    def end(child: Child) -> None:
        wait_until(lambda: hasty.client.get("begun"), "the handler runs")
        os.kill(child.pid, signal.SIGTERM)

    assert run_child(consume_until_told, disturb=end) == 0
    assert [(row.key, row.state) for row in world.inbox()] == [("ORD-1", "handled")]
    flow.does.clear()
    assert world.consume() == {Result.HANDLED: 1}
    assert world.list_effects() == [("ORD-1", "paid"), ("ORD-2", "paid")]


def test_deadly_event_is_stored_dead_and_condemns_no_neighbour(hasty: ValkeyDriver, flow: Behaviour) -> None:
    flow.does["deadly"] = lambda: os._exit(9)
    world.send(*(Paid(order_id=key) for key in ("ORD-1", "deadly", "ORD-2", "ORD-3")))
    codes = [run_child(world.consume) for _ in range(4)]
    assert codes == [9, 9, 9, 0]
    assert sorted((row.key, row.state) for row in world.inbox()) == [
        ("ORD-1", "handled"), ("ORD-2", "handled"), ("ORD-3", "handled"), ("deadly", "dead"),
    ]  # fmt: skip
    [dead] = [row for row in world.inbox() if row.state == "dead"]
    assert dead.error.startswith("It was delivered 4 times without an answer")
    assert sorted(world.list_effects()) == [("ORD-1", "paid"), ("ORD-2", "paid"), ("ORD-3", "paid")]


def test_stored_event_that_kills_its_retries_dies_and_stops_no_other(flow: Behaviour) -> None:
    flow.fails["deadly"] = ValueError("no")
    world.send(Paid(order_id="deadly"))
    world.consume()
    flow.does["deadly"] = lambda: os._exit(9)
    codes = []
    for _ in range(3):
        clock.move(timedelta(seconds=2))
        codes.append(run_child(world.consume))
    assert codes == [9, 9, 0]
    world.send(Paid(order_id="ORD-1"))
    assert world.consume() == {Result.HANDLED: 1}
    assert [(row.key, row.state, row.attempts) for row in world.inbox()] == [
        ("deadly", "dead", 3), ("ORD-1", "handled", 0),
    ]  # fmt: skip
    assert "the last runs did not end" in world.inbox()[0].error


# Races


def test_events_of_one_key_are_serial_among_several_consumers(flow: Behaviour) -> None:
    inside, most, guard = [0], [0], threading.Lock()

    def overlap() -> None:
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        with guard:
            inside[0] -= 1

    flow.does["ORD-1"] = overlap
    world.send(*(Paid(order_id="ORD-1") for _ in range(40)))
    with running(count=4):
        wait_until(lambda: count_handled() == 40, "handled")
    assert (most[0], len(world.list_effects())) == (1, 40)


def test_unordered_events_do_not_wait_for_each_other(flow: Behaviour, broker: Broker) -> None:
    meeting = threading.Barrier(2)
    flow.does.update(dict.fromkeys(["one", "two"], lambda: meeting.wait(PATIENCE_SECONDS)))
    world.send(Noticed(text="one"), Noticed(text="two"))
    alias = catalogue.database_of(world.CONSUMER)
    handler = catalogue.handlers_of(world.CONSUMER)["TestNoticed"]

    def receive(row: Any) -> Result:
        read = read_message(to_message(row), max_bytes=9_999)
        arrival = Arrival(
            consumer=world.CONSUMER, alias=alias, event=read, loaded=handler.event.load(read.data, 1), handler=handler,
            topic="tests", position=read.id,
        )  # fmt: skip
        return inbox.handle(arrival)

    first, second = world.outbox()
    assert run_side_by_side([lambda: receive(first), lambda: receive(second)]) == ["handled", "handled"]
    assert inbox.InboxKey.objects.using(alias).count() == 0


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_one_of_two_consumers_handles_an_event(flow: Behaviour, isolation: str) -> None:
    handler = catalogue.handlers_of(world.CONSUMER)["TestPaid"]
    alias = catalogue.database_of(world.CONSUMER)
    levels: set[str] = set()
    for number in range(10):
        world.send(Paid(order_id=f"ORD-{number}"))
        event = read_message(to_message(world.outbox()[-1]), max_bytes=9_999)
        arrival = Arrival(
            consumer=world.CONSUMER,
            alias=alias,
            event=event,
            loaded=handler.event.load(event.data, 1),
            handler=handler,
            topic="tests",
            position=str(number),
        )
        flow.does[f"ORD-{number}"] = lambda: levels.add(run("SHOW transaction_isolation"))

        def receive(arrival: Arrival = arrival) -> Result:
            run(f"SET default_transaction_isolation = '{isolation}'")
            return inbox.handle(arrival)

        assert sorted(run_side_by_side([receive, receive, receive])) == ["duplicate", "duplicate", "handled"]
    assert levels == {"read committed"}
    assert len(world.list_effects()) == 10


def test_wait_for_the_lock_of_a_key_is_no_failure(flow: Behaviour, event_settings: Any) -> None:
    event_settings(HANDLER_TIMEOUT=timedelta(seconds=0.3))
    flow.answers = False
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    world.send(Paid(order_id="ORD-1"))
    parameters = connections[catalogue.database_of(world.CONSUMER)].get_connection_params()
    with psycopg.connect(**{**parameters, "context": None, "cursor_factory": psycopg.Cursor}) as holder:
        holder.execute("SELECT 1 FROM sagas_inboxkey WHERE key = 'ORD-1' FOR UPDATE")
        with running() as [runner]:
            time.sleep(1.0)
            assert runner.tally.total == 0
            holder.rollback()
            wait_until(lambda: runner.tally.total == 1, "handled")
    assert [(row.state, row.attempts) for row in world.inbox()] == [("handled", 0), ("handled", 0)]


# Handlers that misbehave


def run(statement: str) -> Any:
    """Run a statement on the consumer's connection of this thread."""
    with connections[catalogue.database_of(world.CONSUMER)].cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def test_statement_beyond_the_time_out_fails_the_event(flow: Behaviour, event_settings: Any) -> None:
    event_settings(HANDLER_TIMEOUT=timedelta(seconds=0.2))
    before = run("SHOW statement_timeout")
    flow.does["ORD-1"] = lambda: run("SELECT pg_sleep(30)")
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))
    assert world.consume() == {Result.FAILED: 1, Result.HANDLED: 1}
    [row] = [row for row in world.inbox() if row.state == "retrying"]
    assert (row.attempts, "statement timeout" in row.error) == (1, True)
    assert run("SHOW statement_timeout") == before


def open_a_block() -> None:
    transaction.atomic(using=catalogue.database_of(world.CONSUMER)).__enter__()


def turn_autocommit_off() -> None:
    connections[catalogue.database_of(world.CONSUMER)].connection.autocommit = False


def close_connection() -> None:
    connections[catalogue.database_of(world.CONSUMER)].close()


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        (lambda: run("ROLLBACK"), "TransactionEnded"),
        (lambda: (run("ROLLBACK"), run("SELECT 1")), "TransactionEnded"),
        (close_connection, "TransactionEnded"),
        (lambda: (close_connection(), run("SELECT 1")), "TransactionEnded"),
        (lambda: (run("SAVEPOINT a"), run("nonsense")), "ProgrammingError"),
        (lambda: transaction.set_rollback(True, using=catalogue.database_of(world.CONSUMER)), ""),
    ],
    ids=["rollback", "rollback-and-on", "close", "close-and-on", "bad-statement", "set-rollback"],
)
def test_handler_that_ends_its_transaction_fails_and_loses_nothing(
    misdeed: Callable[[], object], told: str, flow: Behaviour
) -> None:
    flow.does["ORD-1"] = misdeed
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))
    with running() as [runner]:
        wait_until(lambda: runner.tally.total >= 2, "both events")
    assert runner.tally.counts == {Result.FAILED: 1, Result.HANDLED: 1}
    [row] = [row for row in world.inbox() if row.key == "ORD-1"]
    assert (row.state, row.error.startswith(told)) == ("retrying", True), row.error
    assert [what for what in world.list_effects() if what[0] == "ORD-2"] == [("ORD-2", "paid")]


def test_handler_that_commits_by_itself_is_shown(flow: Behaviour) -> None:
    flow.does["ORD-1"] = lambda: (run("COMMIT"), run("SELECT 1"))
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-1"))
    assert world.consume() == {Result.FAILED: 1, Result.HELD: 1}
    assert [(row.state, row.error_class) for row in world.inbox()] == [("dead", "TransactionEnded"), ("held", "")]


def test_absence_of_another_database_is_a_failure_of_the_handler(flow: Behaviour) -> None:
    def ask_another() -> None:
        raise OperationalError("another server is away")

    flow.does["ORD-1"] = ask_another
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))
    assert world.consume() == {Result.FAILED: 1, Result.HANDLED: 1}


@pytest.mark.parametrize("misdeed", [open_a_block, turn_autocommit_off], ids=["open-block", "autocommit"])
def test_changed_connection_is_dropped_and_the_event_handled(misdeed: Callable[[], None], flow: Behaviour) -> None:
    def once() -> None:
        del flow.does["ORD-1"]
        misdeed()

    flow.does["ORD-1"] = once
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))
    with running() as [runner]:
        wait_until(lambda: count_handled() == 2, f"both events: {runner.tally.counts}")
    assert sorted(world.list_effects()) == [("ORD-1", "paid"), ("ORD-2", "paid")]


def test_bad_ending_of_a_thread_is_no_failure_of_the_loop(flow: Behaviour) -> None:
    flow.does["ORD-1"] = lambda: (_ for _ in ()).throw(GeneratorExit("odd"))
    world.send(Paid(order_id="ORD-1"), Voided(order_id="ORD-1"), Noticed(text="hello"))
    assert world.consume() == {Result.FAILED: 1, Result.HANDLED: 2}
