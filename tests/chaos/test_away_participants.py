"""F11: a participant's own database is unavailable or read only. Its sagas wait; others are not affected."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from config.local.valkey import LocalValkey
from tests.end_to_end.blueprints import FOUR_DATABASES, Blueprints
from tests.end_to_end.shops import LOOK_SECONDS, PATIENCE_SECONDS, Shop
from tests.processes import UNHURRIED_ENGINE, Project, wait_until
from tests.servers import SERVER_VARIABLE

from .proxy import PostgresProxy, open_proxy

pytestmark = pytest.mark.full

# More attempts than the budget of a step allows.
ASKED_IN_VAIN = 6

Outage = Callable[[Project, PostgresProxy, str], AbstractContextManager[None]]


@pytest.fixture
def far_shop(blueprints: Blueprints, broker: LocalValkey, tmp_path: Path) -> Iterator[tuple[Shop, PostgresProxy]]:
    """Run a shop on four databases; the worker reaches the participants' only through a proxy."""
    with ExitStack() as stack:
        project = stack.enter_context(blueprints.copy(FOUR_DATABASES, broker.url, tmp_path))
        proxy = stack.enter_context(open_proxy(os.environ[SERVER_VARIABLE]))
        _, client = project.start_web()
        yield Shop(project=project, brokers=[broker], client=client.log_in("customer", "customer")), proxy


@contextmanager
def refuse_connections(_project: Project, proxy: PostgresProxy, _variable: str) -> Iterator[None]:
    """Make the server unavailable."""
    proxy.refuse()
    try:
        yield
    finally:
        proxy.admit()


@contextmanager
def set_read_only(project: Project, _proxy: PostgresProxy, variable: str) -> Iterator[None]:
    """Make the database read only, like a replica before its promotion."""
    name = project.environment[variable].partition("?")[0].rpartition("/")[2]
    with psycopg.connect(os.environ[SERVER_VARIABLE], autocommit=True) as connection:

        def end_sessions() -> None:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )

        database = sql.Identifier(name)
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
        end_sessions()
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
            end_sessions()


OUTAGES: dict[str, Outage] = {"away": refuse_connections, "read only": set_read_only}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
def test_sagas_wait_for_their_participant_without_using_their_budget(
    far_shop: tuple[Shop, PostgresProxy], outage: Outage
) -> None:
    shop, proxy = far_shop
    start_far_worker(shop, proxy, "PAYMENTS_DATABASE_URL")

    with outage(shop.project, proxy, "PAYMENTS_DATABASE_URL"):
        waiting, doomed = shop.place(), shop.place("pm_card_declined")
        untouched = shop.place(sku="SCONE-SOLD-OUT")
        shop.wait_for(untouched, "cancelled")
        for number in (waiting, doomed):
            wait_until_tried(shop, number, "authorize_payment")
        used = [read_budget(shop, number, "authorize_payment") for number in (waiting, doomed)]
        ends = {shop.client.get_order(number)["status"] for number in (waiting, doomed)}

    assert used == [0, 0]
    assert ends == {"processing"}
    shop.wait_for(waiting, "confirmed")
    shop.wait_for(doomed, "cancelled")
    *vain, last = shop.list_attempts(waiting, "authorize_payment")
    assert (set(vain), last) == ({"retry"}, "succeeded")
    assert shop.count_in_ledger(waiting, "authorize") == 1
    shop.assert_ledgers_balance()


def test_sagas_compensate_at_their_deadline(far_shop: tuple[Shop, PostgresProxy]) -> None:
    shop, proxy = far_shop
    start_far_worker(shop, proxy, "SHIPPING_DATABASE_URL")

    with refuse_connections(shop.project, proxy, "SHIPPING_DATABASE_URL"):
        number, declined = shop.place(), shop.place("pm_card_declined")
        wait_until_tried(shop, number, "book_shipment")
        pass_deadline(shop, number)
        order = shop.wait_for(number, "cancelled")
        shop.wait_for(declined, "cancelled")

    assert order["reason"] == "took_too_long"
    assert set(shop.list_attempts(number, "book_shipment")) == {"retry"}
    # No request was ever made, so nothing has to be undone there.
    assert shop.list_attempts(number, "book_shipment", "compensation") == []
    assert [shop.count_in_ledger(number, kind) for kind in ("authorize", "capture", "void")] == [1, 0, 1]
    shop.assert_ledgers_balance()


def test_compensations_wait_for_their_participant_too(far_shop: tuple[Shop, PostgresProxy]) -> None:
    shop, proxy = far_shop
    start_far_worker(shop, proxy, "INVENTORY_DATABASE_URL")
    number = shop.place("pm_card_timeout")
    wait_until(
        lambda: shop.list_attempts(number, "authorize_payment") != [],
        "the stock is reserved",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )

    with refuse_connections(shop.project, proxy, "INVENTORY_DATABASE_URL"):
        wait_until_tried(shop, number, "reserve_stock", "compensation")
        assert read_budget(shop, number, "reserve_stock") == 0
        assert shop.list_reasons(number) == []

    shop.wait_for(number, "cancelled")
    assert shop.list_attempts(number, "reserve_stock", "compensation")[-1] == "succeeded"
    shop.assert_ledgers_balance()


def start_far_worker(shop: Shop, proxy: PostgresProxy, variable: str) -> None:
    """Start a worker that reaches one participant's database through the proxy."""
    url = proxy.url_of(shop.project.environment[variable])
    project = shop.with_engine(UNHURRIED_ENGINE).project.with_environment(**{variable: url})
    shop.workers.append(project.start_worker("far", concurrency=2))


def wait_until_tried(shop: Shop, number: str, step: str, direction: str = "action") -> None:
    """Wait until a step was tried more often than its budget allows."""
    wait_until(
        lambda: len(shop.list_attempts(number, step, direction)) >= ASKED_IN_VAIN,
        f"{step} of order {number} was tried {ASKED_IN_VAIN} times",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )


def read_budget(shop: Shop, number: str, step: str) -> int:
    """Return how many ended attempts of a step count against its budget."""
    statement = """SELECT budget_used - (lease_token IS NOT NULL)::int AS used
        FROM sagas_sagastep WHERE saga_id = %s AND name = %s"""
    return int(shop.project.query(statement, [shop.saga_of(number), step])[0]["used"])


def pass_deadline(shop: Shop, number: str) -> None:
    """Set the deadline of an order's saga to now."""
    statement = """UPDATE sagas_saga SET deadline_at = clock_timestamp(), due_at = clock_timestamp()
        WHERE id = %s RETURNING id"""
    shop.project.query(statement, [shop.saga_of(number)])
