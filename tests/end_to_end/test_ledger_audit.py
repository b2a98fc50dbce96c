"""Plant every kind of lie in the rows of a small shop, and see that the audit finds it.

The numbers are those of INV in the faults that the project survives: 1 accepted checkouts, 2 money, 3 stock, 4 effects,
5 history, 6 ends.
"""

# ruff: noqa: S608 - statements are put together from the constants below alone

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connections, transaction

from orders import services
from orders.requests import Address, CheckoutRequest, LineRequest
from orders.seed import seed_shop
from payments.gateways import sandbox as sandbox_gateway
from sagas import clock
from sagas.testing import drain
from shipping.carriers import sandbox as sandbox_carrier
from tests.processes import Project

from . import ledger_audit
from .ledger_audit import ENGINE, INVENTORY, PAYMENTS, SHIPPING

SKU = "TEA-SENCHA"
STRANGER = "ORD-STRANGER"
OF_SAGA = "(SELECT saga_id FROM orders_order WHERE number = %({})s)"
CONFIRMED, CANCELLED, WAITING = (OF_SAGA.format(name) for name in ("confirmed", "cancelled", "waiting"))
OF_MONEY = "(SELECT id FROM payments_sandboxauthorization WHERE order_number = %({})s)"
OF_CONFIRMED_MONEY, OF_CANCELLED_MONEY = (OF_MONEY.format(name) for name in ("confirmed", "cancelled"))

# Nothing that the database has against a lie shall stop it; as a replica it minds neither foreign keys nor triggers.
LIFT_ALL_GUARDS = (
    "SET CONSTRAINTS ALL IMMEDIATE",
    """DO $$ DECLARE guard record; BEGIN
        FOR guard IN SELECT conrelid::regclass AS held, conname FROM pg_constraint
            WHERE contype IN ('c', 'u') AND connamespace = 'public'::regnamespace AND conrelid <> 0
        LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', guard.held, guard.conname); END LOOP;
        FOR guard IN SELECT indexrelid::regclass AS held FROM pg_index JOIN pg_class c ON c.oid = indexrelid
            WHERE indisunique AND NOT indisprimary AND c.relnamespace = 'public'::regnamespace
        LOOP EXECUTE format('DROP INDEX %s', guard.held); END LOOP;
    END $$""",
    "SET LOCAL session_replication_role = replica",
)


@dataclass(frozen=True, kw_only=True)
class Lie:
    """One thing that must never be found.

    inv: what it breaks. told: statements that plant it, in the database of this setting. found: what is said of it.
    """

    inv: int
    told: str
    found: str
    database: str = ENGINE


def copy(table: str, where: str, changes: str) -> str:
    """Write the statement that copies a row, with changes as of ``jsonb_build_object``; ``r`` is the row."""
    changed = f"to_jsonb(r) || jsonb_build_object({changes})"
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, {changed})).* FROM {table} r WHERE {where};"
    )


def tell(saga: str, what: str, step: str) -> str:
    """Write the statements that add an entry to the end of a saga's history."""
    last = f"r.saga_id = {saga} ORDER BY r.number DESC LIMIT 1"
    changes = f"'id', r.id + 1000000, 'number', r.number + 1, 'what', '{what}', 'step', '{step}'"
    counted = f"UPDATE sagas_saga SET history_count = history_count + 1 WHERE id = {saga};"
    return copy("sagas_sagahistory", last, changes) + counted


def say(table: str, changes: str, where: str) -> str:
    """Write the statement that changes rows."""
    return f"UPDATE {table} SET {changes} WHERE {where};"


FORBIDDEN: Sequence[Lie] = (
    Lie(inv=1, found="an order without a saga, or a saga without an order",
        told=say("orders_order", "saga_id = gen_random_uuid()", "number = %(confirmed)s")),
    Lie(inv=1, found="an order without a saga, or a saga without an order",
        told="DELETE FROM orders_order WHERE number = %(confirmed)s;"),
    Lie(inv=6, found="an order that ended otherwise than its saga",
        told=say("orders_order", "status = 'cancelled', reason = 'took_too_long'", "number = %(confirmed)s")),
    Lie(inv=6, found="an order that ended otherwise than its saga",
        told=say("orders_order", "status = 'pending', reason = ''", "number = %(cancelled)s")),
    Lie(inv=6, found="an order that ended otherwise than its saga",
        told=say("orders_order", "status = 'confirmed'", "number = %(waiting)s")),
    Lie(inv=6, found="an open saga that is neither due nor held",
        told=say("sagas_sagastep", "hold = NULL", f"saga_id = {WAITING}")
        + say("sagas_saga", "hold = NULL, due_at = NULL", f"id = {WAITING}")),
    Lie(inv=6, found="a closed saga with something due",
        told=say("sagas_saga", "due_at = now()", f"id = {CONFIRMED}")),
    Lie(inv=6, found="a closed saga with something due",
        told=say("sagas_saga", "hold = 'paused'", f"id = {CANCELLED}")),
    Lie(inv=6, found="a closed saga with something due",
        told=say("sagas_saga", """attention = '["overdue"]'""", f"id = {CONFIRMED}")),
    Lie(inv=6, found="a closed saga with something due",
        told=say("sagas_sagastep", "hold = 'outcome_unknown'", f"saga_id = {CONFIRMED} AND name = 'ship_stock'")),
    Lie(inv=6, found="a closed saga with something due",
        told=say("sagas_sagastep", "due_at = now()", f"saga_id = {CONFIRMED} AND name = 'ship_stock'")),
    Lie(inv=6, found="a closed saga with something due",
        told=say("sagas_sagastep", "lease_token = gen_random_uuid(), lease_until = now()",
                 f"saga_id = {CANCELLED} AND name = 'reserve_stock'")),
    Lie(inv=6, found="a closed saga with something due",
        told=say("sagas_sagastep", "state = 'pending'", f"saga_id = {CONFIRMED} AND name = 'ship_stock'")),
    Lie(inv=6, found="a closed saga with something due",
        told=say("sagas_sagastep", "state = 'succeeded'", f"saga_id = {CANCELLED} AND name = 'reserve_stock'")),
    Lie(inv=6, found="an attempt of a closed saga that never ended",
        told=say("sagas_sagaattempt", "ended_at = NULL, outcome = NULL",
                 f"id = (SELECT max(id) FROM sagas_sagaattempt WHERE saga_id = {CANCELLED})")),
    Lie(inv=5, found="attempts that are not numbered from 1 without gaps",
        told=say("sagas_sagaattempt", "number = number + 1",
                 f"id = (SELECT max(id) FROM sagas_sagaattempt WHERE saga_id = {CONFIRMED})")),
    Lie(inv=5, found="attempts that are not numbered from 1 without gaps",
        told="DELETE FROM sagas_sagaattempt"
        f" WHERE id = (SELECT max(id) FROM sagas_sagaattempt WHERE saga_id = {CANCELLED});"),
    Lie(inv=5, found="attempts that are not numbered from 1 without gaps",
        told=say("sagas_sagastep", "compensation_attempts = 1", f"saga_id = {CONFIRMED} AND name = 'ship_stock'")),
    Lie(inv=5, found="history with gaps",
        told=f"DELETE FROM sagas_sagahistory WHERE saga_id = {CONFIRMED} AND number = 3;"),
    Lie(inv=5, found="history with gaps",
        told=f"DELETE FROM sagas_sagahistory h USING sagas_saga s WHERE s.id = {CONFIRMED} AND h.saga_id = s.id"
        " AND h.number = s.history_count;"),
    Lie(inv=5, found="history with gaps",
        told=say("sagas_sagahistory", "number = number + 1000", f"saga_id = {CONFIRMED}")
        + say("sagas_sagahistory", "number = number - 999", f"saga_id = {CONFIRMED}")),
    Lie(inv=5, found="history with gaps", told=f"DELETE FROM sagas_sagahistory WHERE saga_id = {CANCELLED};"),
    Lie(inv=5, found="history with gaps", told=f"DELETE FROM sagas_sagahistory WHERE saga_id = {CANCELLED};"
        + say("sagas_saga", "history_count = 0", f"id = {CANCELLED}")),
    Lie(inv=4, found="an action that began after the saga turned back",
        told=tell(CANCELLED, "step_claimed", "ship_stock")),
    Lie(inv=4, found="a step compensated before one that came after it",
        told=say("sagas_sagahistory", """step = CASE step WHEN 'reserve_stock' THEN 'authorize_payment'
                                         WHEN 'authorize_payment' THEN 'reserve_stock' ELSE step END""",
                 f"saga_id = {CANCELLED} AND what = 'compensation_succeeded'")),
    Lie(inv=2, found="more than one authorisation, or more than one capture", database=PAYMENTS,
        told=copy("payments_sandboxauthorization", "order_number = %(cancelled)s",
                  "'id', r.id + 1000000, 'key', 'twice'")),
    Lie(inv=2, found="more than one authorisation, or more than one capture", database=PAYMENTS,
        told=copy("payments_sandboxoperation", f"kind = 'capture' AND authorization_id = {OF_CONFIRMED_MONEY}",
                  "'id', r.id + 1000000, 'key', 'twice'")),
    Lie(inv=4, found="two effects of one kind on one authorisation", database=PAYMENTS,
        told=copy("payments_sandboxoperation", f"kind = 'void' AND authorization_id = {OF_CANCELLED_MONEY}",
                  "'id', r.id + 1000000, 'key', 'twice'")),
    Lie(inv=4, found="two parcels for one order, or two answers of one kind", database=SHIPPING,
        told=copy("shipping_sandboxbooking", "order_number = %(confirmed)s", "'id', r.id + 1000000, 'key', 'twice'")
        + copy("shipping_sandboxrequest", "kind = 'book' AND booking_id = (SELECT min(id) FROM shipping_sandboxbooking"
               " WHERE order_number = %(confirmed)s)",
               "'id', r.id + 1000000, 'key', 'twice', 'booking_id', r.booking_id + 1000000")),
    Lie(inv=4, found="two parcels for one order, or two answers of one kind", database=SHIPPING,
        told=copy("shipping_sandboxrequest", "kind = 'cancel' AND booking_id = (SELECT id FROM shipping_sandboxbooking"
                  " WHERE order_number = %(cancelled)s)", "'id', r.id + 1000000, 'key', 'twice'")),
    Lie(inv=4, found="two reservations for one order", database=INVENTORY,
        told=copy("inventory_reservation", "order_number = %(cancelled)s", "'id', gen_random_uuid(), 'key', 'twice'")),
    Lie(inv=3, found="stock that does not add up", database=INVENTORY,
        told=say("inventory_stockitem", "on_hand = on_hand - 1", "sku = %(sku)s")),
    Lie(inv=3, found="stock that does not add up", database=INVENTORY,
        told=say("inventory_stockitem", "on_hand = -1, received = received - on_hand - 1", "sku = %(sku)s")),
    Lie(inv=3, found="stock that does not add up", database=INVENTORY,
        told=say("inventory_stockitem", "on_hand = on_hand - 1, reserved = reserved + 1", "sku = %(sku)s")),
    Lie(inv=3, found="stock that does not add up", database=INVENTORY,
        told=say("inventory_stockitem", "on_hand = on_hand - 1, shipped = shipped + 1", "sku = %(sku)s")),
)  # fmt: skip

DIFFERENCES: Sequence[Lie] = (
    Lie(inv=1, found="accepted were", told="DELETE FROM orders_order WHERE number = %(cancelled)s;"),
    Lie(inv=1, found="accepted were",
        told=copy("orders_order", "number = %(cancelled)s", "'id', r.id + 1000000, 'number', %(stranger)s::text")),
    Lie(inv=6, found="open are", told=say("sagas_saga", "state = 'abandoned', closed_at = now(), due_at = NULL",
                                          f"id = {WAITING}")),
    Lie(inv=6, found="open are", told=say("sagas_saga", "state = 'running', closed_at = NULL", f"id = {CONFIRMED}")),
    Lie(inv=6, found="%(waiting)s is open and no person is asked for",
        told=say("sagas_sagastep", "hold = NULL", f"saga_id = {WAITING}")
        + say("sagas_saga", "hold = NULL, attention = '[]', due_at = now()", f"id = {WAITING}")),
)  # fmt: skip

MONEY: Sequence[Lie] = (
    Lie(inv=2, found="order %(confirmed)s is completed and 0 of", database=PAYMENTS,
        told="DELETE FROM payments_sandboxoperation WHERE kind = 'capture'"
        f" AND authorization_id = {OF_CONFIRMED_MONEY};"),
    Lie(inv=2, found="order %(confirmed)s is completed and", database=PAYMENTS,
        told=say("payments_sandboxauthorization", "refunded_minor = 1", "order_number = %(confirmed)s")),
    Lie(inv=2, found="order %(confirmed)s is completed and 0 of", database=PAYMENTS,
        told="DELETE FROM payments_sandboxauthorization WHERE order_number = %(confirmed)s;"),
    Lie(inv=2, found="order %(cancelled)s is compensated and", database=PAYMENTS,
        told=say("payments_sandboxoperation", "kind = 'capture', amount_minor = 1",
                 f"kind = 'void' AND authorization_id = {OF_CANCELLED_MONEY}")),
    Lie(inv=2, found="order %(cancelled)s is compensated and its money is still held", database=PAYMENTS,
        told=say("payments_sandboxauthorization", "state = 'held'", "order_number = %(cancelled)s")),
)  # fmt: skip

PARCELS: Sequence[Lie] = (
    Lie(inv=2, found="order %(confirmed)s is completed and a parcel is not booked", database=SHIPPING,
        told=say("shipping_sandboxbooking", "state = 'cancelled'", "order_number = %(confirmed)s")),
    Lie(inv=4, found="order %(cancelled)s is compensated and a parcel is booked", database=SHIPPING,
        told=say("shipping_sandboxbooking", "state = 'booked'", "order_number = %(cancelled)s")),
)  # fmt: skip

STOCK: Sequence[Lie] = (
    Lie(inv=3, found="order %(confirmed)s is completed and its reservation is reserved", database=INVENTORY,
        told=say("inventory_reservation", "state = 'reserved', shipped_at = NULL", "order_number = %(confirmed)s")),
    Lie(inv=3, found="order %(confirmed)s is completed and its reservation is none", database=INVENTORY,
        told="DELETE FROM inventory_reservation WHERE order_number = %(confirmed)s;"),
    Lie(inv=3, found="order %(cancelled)s is compensated and its reservation is reserved", database=INVENTORY,
        told=say("inventory_reservation", "state = 'reserved', released_at = NULL", "order_number = %(cancelled)s")),
    Lie(inv=3, found="the stock is not what came in", database=INVENTORY,
        told=say("inventory_stockitem", "on_hand = on_hand + 1, received = received + 1", "sku = %(sku)s")),
    Lie(inv=3, found="the stock is not what came in", database=INVENTORY,
        told="DELETE FROM inventory_stockitem WHERE sku = %(sku)s;"),
)  # fmt: skip


class UncommittedProject(Project):
    """Read what the test itself has written and not committed."""

    def query(
        self, statement: str, parameters: Sequence[object] = (), *, database: str = ENGINE
    ) -> list[dict[str, Any]]:
        """Read rows by SQL in the transaction of the test."""
        with connections[alias_of(database)].cursor() as cursor:
            cursor.execute(statement, parameters or None)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@dataclass(frozen=True, kw_only=True)
class Court:
    """A shop with one order of each end, all of them right.

    names: its orders and what else a lie may name.
    """

    project: Project
    names: dict[str, str]

    @property
    def accepted(self) -> set[str]:
        """Return the numbers of its orders."""
        return {self.names[name] for name in ("confirmed", "cancelled", "waiting")}

    @property
    def waiting(self) -> set[str]:
        """Return the number of the order that waits for a person."""
        return {self.names["waiting"]}

    @property
    def closed(self) -> dict[str, dict[str, Any]]:
        """Return the orders that are over, as the audit reads them."""
        return {row["number"]: row for row in self.project.query(ledger_audit.ORDERS) if not row["is_open"]}

    def find_forbidden(self) -> Iterable[str]:
        """Ask what no moment allows."""
        return ledger_audit.find_forbidden(self.project)

    def find_differences(self) -> Iterable[str]:
        """Ask for all that differs."""
        return ledger_audit.find_differences(self.project, self.accepted, self.waiting)

    def find_money_differences(self) -> Iterable[str]:
        """Ask for the money alone."""
        return ledger_audit.find_money_differences(self.project, self.closed)

    def find_parcel_differences(self) -> Iterable[str]:
        """Ask for the parcels alone."""
        return ledger_audit.find_parcel_differences(self.project, self.closed)

    def find_stock_differences(self) -> Iterable[str]:
        """Ask for the stock alone."""
        return ledger_audit.find_stock_differences(self.project, self.closed, ledger_audit.SEEDED)


@pytest.fixture
def court(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Court]:
    """Make one confirmed checkout, one cancelled, and one that waits for an operator; all of it is rolled back."""
    for provider in (sandbox_gateway, sandbox_carrier):
        monkeypatch.setattr(provider, "commit_autonomously", lambda _database, work: work())
    with clock.restored():
        yield Court(project=UncommittedProject(environment={}, directory=tmp_path), names=place_orders())


def place_orders() -> dict[str, str]:
    """Place an order of each end, and take away what the database has against lies.

    Returns: their numbers, and what else a lie may name.
    """
    seed_shop()
    customer = get_user_model().objects.get(username="customer")
    methods = {
        "confirmed": "pm_card_visa", "cancelled": "pm_card_capture_declined", "waiting": "pm_card_capture_timeout",
    }  # fmt: skip
    address = Address(name="Ada", line1="1 Harbour Street", line2="", city="Galway", postal_code="H91", country="IE")
    names = {"sku": SKU, "stranger": STRANGER}
    for name, method in methods.items():
        line = LineRequest(sku=SKU, quantity=1)
        request = CheckoutRequest(lines=(line,), payment_method=method, shipping_address=address)
        order = services.place_order(customer=customer, request=request)
        drain(order.saga_id)
        names[name] = order.number
    for alias in connections:
        with connections[alias].cursor() as cursor:
            for statement in LIFT_ALL_GUARDS:
                cursor.execute(statement)
    return names


FINDERS: Sequence[tuple[Callable[[Court], Iterable[str]], Sequence[Lie]]] = (
    (Court.find_forbidden, FORBIDDEN),
    (Court.find_differences, (*DIFFERENCES, *MONEY, *PARCELS, *STOCK)),
    (Court.find_money_differences, MONEY),
    (Court.find_parcel_differences, PARCELS),
    (Court.find_stock_differences, STOCK),
)


@pytest.mark.django_db(databases="__all__")
def test_every_lie_is_found_and_nothing_else(court: Court) -> None:
    missed: list[tuple[str, str, list[str]]] = []
    for find, lies in FINDERS:
        assert list(find(court)) == []
        for lie in lies:
            found = find_among(court, lie, find)
            if not any((lie.found % court.names) in sentence for sentence in found):
                missed.append((find.__name__, lie.told, found))
        assert list(find(court)) == []

    assert missed == []


def test_every_query_and_every_invariant_has_a_lie() -> None:
    told = {what for _, what, _ in ledger_audit.FORBIDDEN if any(what.startswith(lie.found) for lie in FORBIDDEN)}

    assert [what for _, what, _ in ledger_audit.FORBIDDEN if what not in told] == []
    assert {lie.inv for lie in (*FORBIDDEN, *DIFFERENCES, *MONEY, *PARCELS, *STOCK)} == {1, 2, 3, 4, 5, 6}


@pytest.mark.django_db(databases="__all__")
def test_whoever_reads_a_verdict_reads_the_history_with_it(court: Court) -> None:
    ledger_audit.assert_ledgers_balance(court.project, court.accepted, with_a_person=court.waiting)

    held = next(lie for lie in MONEY if lie.found.endswith("still held"))
    with transaction.atomic(alias_of(held.database)):
        plant(court, held)
        with pytest.raises(AssertionError, match="still held") as raised:
            ledger_audit.assert_ledgers_balance(court.project, court.accepted, with_a_person=court.waiting)
        transaction.set_rollback(True, using=alias_of(held.database))

    assert f"Order {court.names['cancelled']}, saga " in str(raised.value)
    assert "what=saga_turned_back" in str(raised.value)
    assert f"Order {court.names['confirmed']}, saga " not in str(raised.value)


def find_among(court: Court, lie: Lie, find: Callable[[Court], Iterable[str]]) -> list[str]:
    """Return all that is found while a lie stands."""
    with transaction.atomic(alias_of(lie.database)):
        plant(court, lie)
        found = list(find(court))
        transaction.set_rollback(True, using=alias_of(lie.database))
    return found


def plant(court: Court, lie: Lie) -> None:
    """Write a lie."""
    with connections[alias_of(lie.database)].cursor() as cursor:
        for statement in filter(None, lie.told.split(";")):
            cursor.execute(statement, court.names)
            assert cursor.rowcount > 0, statement


def alias_of(database: str) -> str:
    """Return the alias of the database with this setting; participants may be in the engine's."""
    alias = database.partition("_DATABASE_URL")[0].lower()
    return alias if alias in connections else "default"
