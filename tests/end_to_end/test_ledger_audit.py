"""Every kind of inconsistency, planted in the rows of a small shop, is found by the audit.

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

# No constraint of the database may prevent a flaw; a replica checks neither foreign keys nor triggers.
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
class Flaw:
    """Inconsistency that must never be found.

    inv: the broken invariant. sql: plants it, in the database of this setting. found: the audit's message.
    """

    inv: int
    sql: str
    found: str
    database: str = ENGINE


def copy(table: str, where: str, changes: str) -> str:
    """Return the statement that copies a row, with changes as of ``jsonb_build_object``; ``r`` is the row."""
    changed = f"to_jsonb(r) || jsonb_build_object({changes})"
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, {changed})).* FROM {table} r WHERE {where};"
    )


def add_entry(saga: str, what: str, step: str) -> str:
    """Return the statements that append an entry to a saga's history."""
    last = f"r.saga_id = {saga} ORDER BY r.number DESC LIMIT 1"
    changes = f"'id', r.id + 1000000, 'number', r.number + 1, 'what', '{what}', 'step', '{step}'"
    counted = f"UPDATE sagas_saga SET history_count = history_count + 1 WHERE id = {saga};"
    return copy("sagas_sagahistory", last, changes) + counted


def update(table: str, changes: str, where: str) -> str:
    """Return the statement that updates rows."""
    return f"UPDATE {table} SET {changes} WHERE {where};"


FORBIDDEN: Sequence[Flaw] = (
    Flaw(inv=1, found="an order without a saga, or a saga without an order",
        sql=update("orders_order", "saga_id = gen_random_uuid()", "number = %(confirmed)s")),
    Flaw(inv=1, found="an order without a saga, or a saga without an order",
        sql="DELETE FROM orders_order WHERE number = %(confirmed)s;"),
    Flaw(inv=6, found="an order that ended otherwise than its saga",
        sql=update("orders_order", "status = 'cancelled', reason = 'took_too_long'", "number = %(confirmed)s")),
    Flaw(inv=6, found="an order that ended otherwise than its saga",
        sql=update("orders_order", "status = 'pending', reason = ''", "number = %(cancelled)s")),
    Flaw(inv=6, found="an order that ended otherwise than its saga",
        sql=update("orders_order", "status = 'confirmed'", "number = %(waiting)s")),
    Flaw(inv=6, found="an open saga that is neither due nor held",
        sql=update("sagas_sagastep", "hold = NULL", f"saga_id = {WAITING}")
        + update("sagas_saga", "hold = NULL, due_at = NULL", f"id = {WAITING}")),
    Flaw(inv=6, found="a closed saga with something due",
        sql=update("sagas_saga", "due_at = now()", f"id = {CONFIRMED}")),
    Flaw(inv=6, found="a closed saga with something due",
        sql=update("sagas_saga", "hold = 'paused'", f"id = {CANCELLED}")),
    Flaw(inv=6, found="a closed saga with something due",
        sql=update("sagas_saga", """attention = '["overdue"]'""", f"id = {CONFIRMED}")),
    Flaw(inv=6, found="a closed saga with something due",
        sql=update("sagas_sagastep", "hold = 'outcome_unknown'", f"saga_id = {CONFIRMED} AND name = 'ship_stock'")),
    Flaw(inv=6, found="a closed saga with something due",
        sql=update("sagas_sagastep", "due_at = now()", f"saga_id = {CONFIRMED} AND name = 'ship_stock'")),
    Flaw(inv=6, found="a closed saga with something due",
        sql=update("sagas_sagastep", "lease_token = gen_random_uuid(), lease_until = now()",
                 f"saga_id = {CANCELLED} AND name = 'reserve_stock'")),
    Flaw(inv=6, found="a closed saga with something due",
        sql=update("sagas_sagastep", "state = 'pending'", f"saga_id = {CONFIRMED} AND name = 'ship_stock'")),
    Flaw(inv=6, found="a closed saga with something due",
        sql=update("sagas_sagastep", "state = 'succeeded'", f"saga_id = {CANCELLED} AND name = 'reserve_stock'")),
    Flaw(inv=6, found="an attempt of a closed saga that never ended",
        sql=update("sagas_sagaattempt", "ended_at = NULL, outcome = NULL",
                 f"id = (SELECT max(id) FROM sagas_sagaattempt WHERE saga_id = {CANCELLED})")),
    Flaw(inv=5, found="attempts that are not numbered from 1 without gaps",
        sql=update("sagas_sagaattempt", "number = number + 1",
                 f"id = (SELECT max(id) FROM sagas_sagaattempt WHERE saga_id = {CONFIRMED})")),
    Flaw(inv=5, found="attempts that are not numbered from 1 without gaps",
        sql="DELETE FROM sagas_sagaattempt"
        f" WHERE id = (SELECT max(id) FROM sagas_sagaattempt WHERE saga_id = {CANCELLED});"),
    Flaw(inv=5, found="attempts that are not numbered from 1 without gaps",
        sql=update("sagas_sagastep", "compensation_attempts = 1", f"saga_id = {CONFIRMED} AND name = 'ship_stock'")),
    Flaw(inv=5, found="history with gaps",
        sql=f"DELETE FROM sagas_sagahistory WHERE saga_id = {CONFIRMED} AND number = 3;"),
    Flaw(inv=5, found="history with gaps",
        sql=f"DELETE FROM sagas_sagahistory h USING sagas_saga s WHERE s.id = {CONFIRMED} AND h.saga_id = s.id"
        " AND h.number = s.history_count;"),
    Flaw(inv=5, found="history with gaps",
        sql=update("sagas_sagahistory", "number = number + 1000", f"saga_id = {CONFIRMED}")
        + update("sagas_sagahistory", "number = number - 999", f"saga_id = {CONFIRMED}")),
    Flaw(inv=5, found="history with gaps", sql=f"DELETE FROM sagas_sagahistory WHERE saga_id = {CANCELLED};"),
    Flaw(inv=5, found="history with gaps", sql=f"DELETE FROM sagas_sagahistory WHERE saga_id = {CANCELLED};"
        + update("sagas_saga", "history_count = 0", f"id = {CANCELLED}")),
    Flaw(inv=4, found="an action that began after the saga turned back",
        sql=add_entry(CANCELLED, "step_claimed", "ship_stock")),
    Flaw(inv=4, found="a step compensated before one that came after it",
        sql=update("sagas_sagahistory", """step = CASE step WHEN 'reserve_stock' THEN 'authorize_payment'
                                         WHEN 'authorize_payment' THEN 'reserve_stock' ELSE step END""",
                 f"saga_id = {CANCELLED} AND what = 'compensation_succeeded'")),
    Flaw(inv=2, found="more than one authorisation, or more than one capture", database=PAYMENTS,
        sql=copy("payments_sandboxauthorization", "order_number = %(cancelled)s",
                  "'id', r.id + 1000000, 'key', 'twice'")),
    Flaw(inv=2, found="more than one authorisation, or more than one capture", database=PAYMENTS,
        sql=copy("payments_sandboxoperation", f"kind = 'capture' AND authorization_id = {OF_CONFIRMED_MONEY}",
                  "'id', r.id + 1000000, 'key', 'twice'")),
    Flaw(inv=4, found="two effects of one kind on one authorisation", database=PAYMENTS,
        sql=copy("payments_sandboxoperation", f"kind = 'void' AND authorization_id = {OF_CANCELLED_MONEY}",
                  "'id', r.id + 1000000, 'key', 'twice'")),
    Flaw(inv=4, found="two parcels for one order, or two answers of one kind", database=SHIPPING,
        sql=copy("shipping_sandboxbooking", "order_number = %(confirmed)s", "'id', r.id + 1000000, 'key', 'twice'")
        + copy("shipping_sandboxrequest", "kind = 'book' AND booking_id = (SELECT min(id) FROM shipping_sandboxbooking"
               " WHERE order_number = %(confirmed)s)",
               "'id', r.id + 1000000, 'key', 'twice', 'booking_id', r.booking_id + 1000000")),
    Flaw(inv=4, found="two parcels for one order, or two answers of one kind", database=SHIPPING,
        sql=copy("shipping_sandboxrequest", "kind = 'cancel' AND booking_id = (SELECT id FROM shipping_sandboxbooking"
                  " WHERE order_number = %(cancelled)s)", "'id', r.id + 1000000, 'key', 'twice'")),
    Flaw(inv=4, found="two reservations for one order", database=INVENTORY,
        sql=copy("inventory_reservation", "order_number = %(cancelled)s", "'id', gen_random_uuid(), 'key', 'twice'")),
    Flaw(inv=3, found="stock that does not add up", database=INVENTORY,
        sql=update("inventory_stockitem", "on_hand = on_hand - 1", "sku = %(sku)s")),
    Flaw(inv=3, found="stock that does not add up", database=INVENTORY,
        sql=update("inventory_stockitem", "on_hand = -1, received = received - on_hand - 1", "sku = %(sku)s")),
    Flaw(inv=3, found="stock that does not add up", database=INVENTORY,
        sql=update("inventory_stockitem", "on_hand = on_hand - 1, reserved = reserved + 1", "sku = %(sku)s")),
    Flaw(inv=3, found="stock that does not add up", database=INVENTORY,
        sql=update("inventory_stockitem", "on_hand = on_hand - 1, shipped = shipped + 1", "sku = %(sku)s")),
)  # fmt: skip

DIFFERENCES: Sequence[Flaw] = (
    Flaw(inv=1, found="accepted were", sql="DELETE FROM orders_order WHERE number = %(cancelled)s;"),
    Flaw(inv=1, found="accepted were",
        sql=copy("orders_order", "number = %(cancelled)s", "'id', r.id + 1000000, 'number', %(stranger)s::text")),
    Flaw(inv=6, found="open are", sql=update("sagas_saga", "state = 'abandoned', closed_at = now(), due_at = NULL",
                                          f"id = {WAITING}")),
    Flaw(inv=6, found="open are", sql=update("sagas_saga", "state = 'running', closed_at = NULL", f"id = {CONFIRMED}")),
    Flaw(inv=6, found="%(waiting)s is open and no person is asked for",
        sql=update("sagas_sagastep", "hold = NULL", f"saga_id = {WAITING}")
        + update("sagas_saga", "hold = NULL, attention = '[]', due_at = now()", f"id = {WAITING}")),
)  # fmt: skip

MONEY: Sequence[Flaw] = (
    Flaw(inv=2, found="order %(confirmed)s is completed and 0 of", database=PAYMENTS,
        sql="DELETE FROM payments_sandboxoperation WHERE kind = 'capture'"
        f" AND authorization_id = {OF_CONFIRMED_MONEY};"),
    Flaw(inv=2, found="order %(confirmed)s is completed and", database=PAYMENTS,
        sql=update("payments_sandboxauthorization", "refunded_minor = 1", "order_number = %(confirmed)s")),
    Flaw(inv=2, found="order %(confirmed)s is completed and 0 of", database=PAYMENTS,
        sql="DELETE FROM payments_sandboxauthorization WHERE order_number = %(confirmed)s;"),
    Flaw(inv=2, found="order %(cancelled)s is compensated and", database=PAYMENTS,
        sql=update("payments_sandboxoperation", "kind = 'capture', amount_minor = 1",
                 f"kind = 'void' AND authorization_id = {OF_CANCELLED_MONEY}")),
    Flaw(inv=2, found="order %(cancelled)s is compensated and its money is still held", database=PAYMENTS,
        sql=update("payments_sandboxauthorization", "state = 'held'", "order_number = %(cancelled)s")),
)  # fmt: skip

PARCELS: Sequence[Flaw] = (
    Flaw(inv=2, found="order %(confirmed)s is completed and a parcel is not booked", database=SHIPPING,
        sql=update("shipping_sandboxbooking", "state = 'cancelled'", "order_number = %(confirmed)s")),
    Flaw(inv=4, found="order %(cancelled)s is compensated and a parcel is booked", database=SHIPPING,
        sql=update("shipping_sandboxbooking", "state = 'booked'", "order_number = %(cancelled)s")),
)  # fmt: skip

STOCK: Sequence[Flaw] = (
    Flaw(inv=3, found="order %(confirmed)s is completed and its reservation is reserved", database=INVENTORY,
        sql=update("inventory_reservation", "state = 'reserved', shipped_at = NULL", "order_number = %(confirmed)s")),
    Flaw(inv=3, found="order %(confirmed)s is completed and its reservation is none", database=INVENTORY,
        sql="DELETE FROM inventory_reservation WHERE order_number = %(confirmed)s;"),
    Flaw(inv=3, found="order %(cancelled)s is compensated and its reservation is reserved", database=INVENTORY,
        sql=update("inventory_reservation", "state = 'reserved', released_at = NULL", "order_number = %(cancelled)s")),
    Flaw(inv=3, found="the stock is not what came in", database=INVENTORY,
        sql=update("inventory_stockitem", "on_hand = on_hand + 1, received = received + 1", "sku = %(sku)s")),
    Flaw(inv=3, found="the stock is not what came in", database=INVENTORY,
        sql="DELETE FROM inventory_stockitem WHERE sku = %(sku)s;"),
)  # fmt: skip


class UncommittedProject(Project):
    """Project that also reads uncommitted rows of the test."""

    def query(
        self, statement: str, parameters: Sequence[object] = (), *, database: str = ENGINE
    ) -> list[dict[str, Any]]:
        """Return rows by SQL in the transaction of the test."""
        with connections[alias_of(database)].cursor() as cursor:
            cursor.execute(statement, parameters or None)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@dataclass(frozen=True, kw_only=True)
class AuditedShop:
    """Shop with one order of each end, all of them consistent.

    names: its orders and what else a flaw may name.
    """

    project: Project
    names: dict[str, str]

    @property
    def accepted(self) -> set[str]:
        """Return the numbers of its orders."""
        return {self.names[name] for name in ("confirmed", "cancelled", "waiting")}

    @property
    def waiting(self) -> set[str]:
        """Return the number of the order that waits for an operator."""
        return {self.names["waiting"]}

    @property
    def closed(self) -> dict[str, dict[str, Any]]:
        """Return the closed orders as the audit reads them."""
        return {row["number"]: row for row in self.project.query(ledger_audit.ORDERS) if not row["is_open"]}

    def find_forbidden(self) -> Iterable[str]:
        return ledger_audit.find_forbidden(self.project)

    def find_differences(self) -> Iterable[str]:
        return ledger_audit.find_differences(self.project, self.accepted, self.waiting)

    def find_money_differences(self) -> Iterable[str]:
        return ledger_audit.find_money_differences(self.project, self.closed)

    def find_parcel_differences(self) -> Iterable[str]:
        return ledger_audit.find_parcel_differences(self.project, self.closed)

    def find_stock_differences(self) -> Iterable[str]:
        return ledger_audit.find_stock_differences(self.project, self.closed, ledger_audit.SEEDED)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditedShop]:
    """Place one confirmed checkout, one cancelled, and one that waits for an operator; all is rolled back."""
    for provider in (sandbox_gateway, sandbox_carrier):
        monkeypatch.setattr(provider, "commit_autonomously", lambda _database, work: work())
    with clock.restored():
        yield AuditedShop(project=UncommittedProject(environment={}, directory=tmp_path), names=place_orders())


def place_orders() -> dict[str, str]:
    """Place an order of each end, and drop the database's constraints.

    Returns: their numbers, and what else a flaw may name.
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


FINDERS: Sequence[tuple[Callable[[AuditedShop], Iterable[str]], Sequence[Flaw]]] = (
    (AuditedShop.find_forbidden, FORBIDDEN),
    (AuditedShop.find_differences, (*DIFFERENCES, *MONEY, *PARCELS, *STOCK)),
    (AuditedShop.find_money_differences, MONEY),
    (AuditedShop.find_parcel_differences, PARCELS),
    (AuditedShop.find_stock_differences, STOCK),
)


@pytest.mark.django_db(databases="__all__")
def test_every_flaw_is_found_and_nothing_else(shop: AuditedShop) -> None:
    missed: list[tuple[str, str, list[str]]] = []
    for find, flaws in FINDERS:
        assert list(find(shop)) == []
        for flaw in flaws:
            found = find_among(shop, flaw, find)
            if not any((flaw.found % shop.names) in sentence for sentence in found):
                missed.append((find.__name__, flaw.sql, found))
        assert list(find(shop)) == []

    assert missed == []


def test_every_query_and_invariant_has_a_flaw() -> None:
    covered = {what for _, what, _ in ledger_audit.FORBIDDEN if any(what.startswith(flaw.found) for flaw in FORBIDDEN)}

    assert [what for _, what, _ in ledger_audit.FORBIDDEN if what not in covered] == []
    assert {flaw.inv for flaw in (*FORBIDDEN, *DIFFERENCES, *MONEY, *PARCELS, *STOCK)} == {1, 2, 3, 4, 5, 6}


@pytest.mark.django_db(databases="__all__")
def test_findings_include_the_history_of_their_sagas(shop: AuditedShop) -> None:
    ledger_audit.assert_ledgers_balance(shop.project, shop.accepted, held_orders=shop.waiting)

    held = next(flaw for flaw in MONEY if flaw.found.endswith("still held"))
    with transaction.atomic(alias_of(held.database)):
        plant(shop, held)
        with pytest.raises(AssertionError, match="still held") as raised:
            ledger_audit.assert_ledgers_balance(shop.project, shop.accepted, held_orders=shop.waiting)
        transaction.set_rollback(True, using=alias_of(held.database))

    assert f"Order {shop.names['cancelled']}, saga " in str(raised.value)
    assert "what=saga_turned_back" in str(raised.value)
    assert f"Order {shop.names['confirmed']}, saga " not in str(raised.value)


def find_among(shop: AuditedShop, flaw: Flaw, find: Callable[[AuditedShop], Iterable[str]]) -> list[str]:
    """Return the findings while a flaw is planted."""
    with transaction.atomic(alias_of(flaw.database)):
        plant(shop, flaw)
        found = list(find(shop))
        transaction.set_rollback(True, using=alias_of(flaw.database))
    return found


def plant(shop: AuditedShop, flaw: Flaw) -> None:
    """Plant a flaw."""
    with connections[alias_of(flaw.database)].cursor() as cursor:
        for statement in filter(None, flaw.sql.split(";")):
            cursor.execute(statement, shop.names)
            assert cursor.rowcount > 0, statement


def alias_of(database: str) -> str:
    """Return the alias of the database with this setting; participants may be in the engine's."""
    alias = database.partition("_DATABASE_URL")[0].lower()
    return alias if alias in connections else "default"
