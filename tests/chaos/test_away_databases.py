"""F9: PostgreSQL restarted, killed, out of connections, or read only. Clients are asked to retry; work continues."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import psycopg
import pytest

from examples.demo.client import Answer
from tests.end_to_end.shops import PATIENCE_SECONDS, SETTINGS_WITH_STOPS, describe_checkout
from tests.end_to_end.stops.points import DIRECTORY_VARIABLE, Marks, Moment, StopPoint
from tests.end_to_end.test_stopped_workers import wait_until_stopped
from tests.processes import UNHURRIED_ENGINE, Process, wait_until

from .postgres import Stop
from .testbed import MAIN, Testbed

pytestmark = pytest.mark.full

Outage = Callable[[Testbed], AbstractContextManager[None]]


@contextmanager
def stop_server(testbed: Testbed) -> Iterator[None]:
    """Stop the server."""
    testbed.postgres.stop(Stop.FAST)
    try:
        yield
    finally:
        testbed.postgres.start()


@contextmanager
def take_all_connections(testbed: Testbed) -> Iterator[None]:
    """Occupy every connection slot, including the superusers', after ending all other sessions."""
    taken: list[psycopg.Connection[tuple[object, ...]]] = []
    with psycopg.connect(testbed.postgres.url_of("postgres"), application_name="taken", autocommit=True) as connection:
        row = connection.execute("SHOW max_connections").fetchone()
        assert row is not None
        free = int(str(row[0])) - 1

        def take() -> bool:
            # An ended or closed session keeps its slot for a while after it has become invisible.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = 'sagas'",
                [MAIN],
            )
            with contextlib.suppress(psycopg.OperationalError):
                while len(taken) < free:
                    taken.append(psycopg.connect(testbed.postgres.url_of("postgres"), application_name="taken"))
            return len(taken) == free

        try:
            wait_until(take, "every place is taken")
            yield
        finally:
            for each in taken:
                each.close()
    wait_until(lambda: count_taken(testbed) == 0, "the server has noticed that they are free")


def count_taken(testbed: Testbed) -> int | None:
    """Count the occupied slots; None if not even this query gets one."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taken'"
    try:
        with psycopg.connect(testbed.postgres.url_of("postgres")) as connection:
            row = connection.execute(statement).fetchone()
    except psycopg.OperationalError:
        return None
    return int(str(row[0])) if row else None


@contextmanager
def set_read_only(testbed: Testbed) -> Iterator[None]:
    """Make the server read only, like a replica before its promotion."""
    testbed.postgres.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    testbed.postgres.execute("SELECT pg_reload_conf()")
    wait_until(lambda: is_read_only(testbed), "the server is read only")
    try:
        yield
    finally:
        testbed.postgres.execute("ALTER SYSTEM RESET default_transaction_read_only")
        testbed.postgres.execute("SELECT pg_reload_conf()")
        wait_until(lambda: not is_read_only(testbed), "the server can be written to")


def is_read_only(testbed: Testbed) -> bool:
    """Ask the server whether it is read only."""
    with psycopg.connect(testbed.postgres.url_of(MAIN)) as connection:
        return connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


OUTAGES: dict[str, Outage] = {
    "stopped": stop_server,
    "out of connections": take_all_connections,
    "read only": set_read_only,
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
def test_clients_are_asked_to_retry_and_workers_continue_by_themselves(testbed: Testbed, outage: Outage) -> None:
    shop, body, key = testbed.shop, describe_checkout("pm_card_visa"), f"key-of-{outage.__name__}"
    waiting = shop.place()
    with outage(testbed):
        worker = start_meanwhile(testbed)
        refused = [shop.client.check_out(body, key=key) for _ in range(2)]
        readiness = shop.client.request("GET", "/readyz").status
        liveness = shop.client.request("GET", "/healthz").status

    assert [describe_refusal(answer) for answer in refused] == [(503, "5", "database-unavailable")] * 2
    assert readiness == (200 if outage is set_read_only else 503)
    assert liveness == 200
    # After the outage no request gets a broken connection.
    accepted = shop.client.check_out(body, key=key)
    assert accepted.status == 202, accepted
    assert accepted.headers["Idempotent-Replayed"] is None
    numbers = [waiting, shop.take(accepted)]
    for number in numbers:
        shop.wait_for(number, "confirmed")
        # No attempt was made during the outage.
        assert shop.list_attempts(number, "reserve_stock") == ["succeeded"]
        assert shop.list_attempts(number, "authorize_payment") == ["succeeded"]
    assert worker.is_running
    shop.assert_ledgers_balance()


def start_meanwhile(testbed: Testbed) -> Process:
    """Start a worker that must wait for the database."""
    return testbed.shop.with_engine(UNHURRIED_ENGINE).start_worker("patient", ready=False)


def describe_refusal(answer: Answer) -> tuple[int, str | None, str]:
    """Return what a client needs to know to retry."""
    return answer.status, answer.headers.get("Retry-After"), answer.body["code"]


def restart_as(how: Stop) -> Callable[[Testbed], None]:
    """Return a function that stops the server in one way and restarts it."""
    return lambda testbed: testbed.postgres.restart(how)


def kill_session(testbed: Testbed) -> None:
    """Kill one session with SIGKILL: the server ends all others and restarts."""
    with psycopg.connect(testbed.postgres.url_of(MAIN)) as connection:
        testbed.postgres.kill_backend(connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT pg_sleep(30)")


ENDS: dict[str, Callable[[Testbed], None]] = {
    "fast": restart_as(Stop.FAST),
    "immediate": restart_as(Stop.IMMEDIATE),
    "killed": restart_as(Stop.KILLED),
    "a session killed": kill_session,
}
# A worker is stopped in each of these while the server ends.
POINTS = {
    # Done, and recorded late.
    StopPoint(step="authorize_payment", direction="action", moment=Moment.AFTER): ("TEA-EARL-GREY", ["succeeded"]),
    # Its own first statement fails, and only the step itself knows that nothing happened before.
    StopPoint(step="capture_payment", direction="action", moment=Moment.BEFORE): (
        "TEA-EARL-GREY",
        ["unknown", "succeeded"],
    ),
    # Rolled back by the server.
    StopPoint(step="reserve_stock", direction="action", moment=Moment.AFTER): ("MUG-WHITE", ["retry", "succeeded"]),
}


def test_workers_in_a_step_keep_their_result_through_a_server_restart(testbed: Testbed, marks: Marks) -> None:
    worker = start_stopping(testbed, marks, len(POINTS))
    for name, end in ENDS.items():
        placed = {testbed.shop.place(sku=sku, line2=str(point)): point for point, (sku, _) in POINTS.items()}
        wait_until_stopped(marks, placed)

        end(testbed)
        for number in placed:
            marks.release(number)

        assert_resumed(testbed, placed, name)
    assert worker.is_running
    testbed.shop.assert_ledgers_balance()


def assert_resumed(testbed: Testbed, placed: Mapping[str, StopPoint], end: str) -> None:
    """Wait until these orders are confirmed, and check the stopped attempts and their effects."""
    shop = testbed.shop
    wait_until(lambda: answers_requests(testbed), "requests are answered", timeout_seconds=PATIENCE_SECONDS)
    for number, point in placed.items():
        shop.wait_for(number, "confirmed")
        assert shop.list_attempts(number, point.step) == POINTS[point][1], (end, point)
        assert [shop.count_in_ledger(number, kind) for kind in ("authorize", "capture", "void")] == [1, 1, 0], end


def start_stopping(testbed: Testbed, marks: Marks, concurrency: int) -> Process:
    """Start a worker that stops where an order says, with leases that outlast the test."""
    project = testbed.project.with_environment(
        DJANGO_SETTINGS_MODULE=SETTINGS_WITH_STOPS,
        SAGAS='{"TIMEOUT": 30, "LEASE_MARGIN": 30, "WAKEUP_INTERVAL": 0.5, "SWEEP_INTERVAL": 0.2}',
        **{DIRECTORY_VARIABLE: str(marks.directory)},
    )
    testbed.shop.workers.append(project.start_worker("stopping", concurrency=concurrency))
    return testbed.shop.workers[-1]


def answers_requests(testbed: Testbed) -> bool:
    """Return whether the web server reaches its database again."""
    return testbed.shop.client.request("GET", "/api/v1/orders/").status == 200
