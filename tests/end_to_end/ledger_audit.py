"""Ledger audit by SQL, without the project's code: nothing was lost, duplicated or forgotten.

Every query returns one row for each error, so an empty result is good. Participants are read in
their own databases; what belongs together is matched here, by order number and step key.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from orders.seed import PRODUCTS
from tests.processes import Project

ENGINE, PAYMENTS, INVENTORY, SHIPPING = (
    "DATABASE_URL", "PAYMENTS_DATABASE_URL", "INVENTORY_DATABASE_URL", "SHIPPING_DATABASE_URL",
)  # fmt: skip

# Errors at any time, whatever the sagas are doing.
FORBIDDEN = (
    (ENGINE, "an order without a saga, or a saga without an order", """
        SELECT o.number, k.saga_id FROM orders_order o
        FULL JOIN sagas_sagakey k ON k.saga_id = o.saga_id AND k.name = 'order' AND k.value = o.number
        WHERE (o.id IS NULL OR k.id IS NULL) AND (k.name = 'order' OR k.id IS NULL)"""),
    (ENGINE, "an order that ended otherwise than its saga", """
        SELECT o.number, o.status, s.state FROM orders_order o JOIN sagas_saga s ON s.id = o.saga_id
        WHERE (s.state = 'completed' AND o.status <> 'confirmed')
           OR (s.state <> 'completed' AND o.status = 'confirmed'
               AND (s.coordination = 'orchestration' OR s.state = 'compensated'))
           OR (s.state = 'compensated' AND o.status <> 'cancelled')"""),
    (ENGINE, "an open saga that is neither due nor held", """
        SELECT s.id FROM sagas_saga s WHERE s.closed_at IS NULL AND s.due_at IS NULL AND s.hold IS NULL
          AND (s.coordination = 'orchestration' OR s.owed_due_at IS NULL AND s.attention = '[]'::jsonb)
          AND NOT EXISTS (SELECT 1 FROM sagas_sagastep t WHERE t.saga_id = s.id AND t.hold IS NOT NULL)"""),
    (ENGINE, "a closed saga with something due, held, leased or unfinished", """
        SELECT s.id, t.name FROM sagas_saga s JOIN sagas_sagastep t ON t.saga_id = s.id
        WHERE s.state IN ('completed', 'compensated')
          AND (s.due_at IS NOT NULL OR s.hold IS NOT NULL OR s.attention <> '[]'::jsonb OR t.hold IS NOT NULL
               OR t.due_at IS NOT NULL OR t.lease_token IS NOT NULL
               OR (s.state = 'completed' AND t.state NOT IN ('succeeded', 'skipped'))
               OR (s.state = 'compensated' AND t.state IN ('running', 'succeeded', 'compensating')))"""),
    (ENGINE, "an attempt of a closed saga that never ended", """
        SELECT a.saga_id, a.direction, a.number FROM sagas_sagaattempt a JOIN sagas_saga s ON s.id = a.saga_id
        WHERE a.ended_at IS NULL AND s.closed_at IS NOT NULL"""),
    (ENGINE, "attempts that are not numbered from 1 without gaps", """
        SELECT t.saga_id, t.name, d.direction, count(a.id) FROM sagas_sagastep t
        CROSS JOIN (VALUES ('action'), ('compensation')) AS d (direction)
        LEFT JOIN sagas_sagaattempt a ON a.step_id = t.id AND a.direction = d.direction
        GROUP BY t.id, d.direction
        HAVING count(a.id) <> coalesce(max(a.number), 0)
            OR count(a.id) <> CASE d.direction WHEN 'action' THEN t.action_attempts ELSE t.compensation_attempts END
               """),
    (ENGINE, "history with gaps", """
        SELECT s.id, s.history_count, count(h.id), max(h.number) FROM sagas_saga s
        LEFT JOIN sagas_sagahistory h ON h.saga_id = s.id GROUP BY s.id
        HAVING count(h.id) <> s.history_count OR max(h.number) <> s.history_count
            OR coalesce(min(h.number), 0) <> 1"""),
    (ENGINE, "an action that began after the saga turned back", """
        SELECT h.saga_id, h.step, h.number FROM sagas_sagahistory h JOIN sagas_sagahistory b USING (saga_id)
        WHERE h.what = 'step_claimed' AND b.what = 'saga_turned_back' AND h.number > b.number"""),
    (ENGINE, "a step compensated before one that came after it", """
        SELECT h.saga_id, h.step, later.step FROM sagas_sagahistory h
        JOIN sagas_saga s ON s.id = h.saga_id AND s.coordination = 'orchestration'
        JOIN sagas_sagahistory later ON later.saga_id = h.saga_id AND later.what = h.what AND later.number > h.number
        JOIN sagas_sagastep t ON t.saga_id = h.saga_id AND t.name = h.step AND t.epoch = 0
        JOIN sagas_sagastep u ON u.saga_id = h.saga_id AND u.name = later.step AND u.epoch = 0
        WHERE h.what = 'compensation_succeeded' AND u.rank > t.rank"""),
    (PAYMENTS, "more than one authorisation, or more than one capture, of one order", """
        SELECT a.order_number, count(DISTINCT a.id), count(o.id) FROM payments_sandboxauthorization a
        LEFT JOIN payments_sandboxoperation o
          ON o.authorization_id = a.id AND o.kind = 'capture' AND o.outcome = 'succeeded'
        WHERE a.order_number <> '' GROUP BY a.order_number HAVING count(DISTINCT a.id) > 1 OR count(o.id) > 1"""),
    (PAYMENTS, "two effects of one kind on one authorisation", """
        SELECT authorization_id, kind, count(*) FROM payments_sandboxoperation
        WHERE outcome = 'succeeded' AND kind <> 'refund' GROUP BY authorization_id, kind HAVING count(*) > 1"""),
    (SHIPPING, "two parcels for one order, or two answers of one kind", """
        SELECT b.order_number, r.kind, count(*) FROM shipping_sandboxbooking b
        JOIN shipping_sandboxrequest r ON r.booking_id = b.id
        WHERE b.order_number <> '' GROUP BY b.order_number, r.kind HAVING count(*) > 1"""),
    (INVENTORY, "two reservations for one order", """
        SELECT order_number, count(*) FROM inventory_reservation
        WHERE order_number <> '' GROUP BY order_number HAVING count(*) > 1"""),
    (INVENTORY, "stock that does not add up", """
        SELECT i.* FROM inventory_stockitem i WHERE least(on_hand, reserved, shipped) < 0
            OR on_hand + reserved + shipped <> received OR reserved <> coalesce((
                SELECT sum(l.quantity) FROM inventory_reservationline l JOIN inventory_reservation r
                ON r.id = l.reservation_id WHERE l.sku = i.sku AND r.state = 'reserved'), 0)
            OR shipped <> coalesce((
                SELECT sum(l.quantity) FROM inventory_reservationline l JOIN inventory_reservation r
                ON r.id = l.reservation_id WHERE l.sku = i.sku AND r.state = 'shipped'), 0)"""),
)  # fmt: skip

ORDERS = """
    SELECT o.number, o.total_minor, s.id AS saga_id, s.state, s.closed_at IS NULL AS is_open,
           s.hold IS NOT NULL OR s.attention <> '[]'::jsonb
           OR EXISTS (SELECT 1 FROM sagas_sagastep t WHERE t.saga_id = s.id AND t.hold IS NOT NULL) AS needs_person
    FROM orders_order o JOIN sagas_saga s ON s.id = o.saga_id"""
MONEY = """
    SELECT a.order_number, a.state, a.refunded_minor,
           coalesce(sum(o.amount_minor) FILTER (WHERE o.kind = 'capture' AND o.outcome = 'succeeded'), 0)::bigint
           AS captured_minor
    FROM payments_sandboxauthorization a LEFT JOIN payments_sandboxoperation o ON o.authorization_id = a.id
    GROUP BY a.id"""


SEEDED = {product.sku: product.on_hand for product in PRODUCTS}


def assert_ledgers_balance(
    project: Project, accepted: set[str], *, held_orders: set[str] = frozenset(), received: Mapping[str, int] = SEEDED
) -> None:
    """Check everything, after all work has ended.

    accepted: numbers of the orders that the REST endpoint accepted. held_orders: those waiting for an operator.
    received: all stock ever received, by SKU.
    Raises: AssertionError with all errors, and the history of the affected sagas.
    """
    found = [*find_forbidden(project), *find_differences(project, accepted, held_orders, received)]
    assert not found, "\n".join([*found, *describe_history(project, found)])


def find_forbidden(project: Project) -> Iterator[str]:
    """Yield what is an error at any time."""
    for database, what, statement in FORBIDDEN:
        for row in project.query(statement, database=database):
            yield f"{what}: {show(row)}"


def find_differences(
    project: Project, accepted: set[str], held_orders: set[str], received: Mapping[str, int] = SEEDED
) -> Iterator[str]:
    """Yield differences between the end of each order and what each participant stores for it."""
    orders = {row["number"]: row for row in project.query(ORDERS)}
    if set(orders) != accepted:
        yield f"accepted were {sorted(accepted)}, stored are {sorted(orders)}"
    waiting = {number for number, order in orders.items() if order["is_open"]}
    if waiting != held_orders:
        yield f"open are {sorted(waiting)}, to be open were {sorted(held_orders)}"
    yield from (f"{n} is open and no person is asked for" for n in waiting if not orders[n]["needs_person"])
    closed = {number: order for number, order in orders.items() if not order["is_open"]}
    yield from find_money_differences(project, closed)
    yield from find_parcel_differences(project, closed)
    yield from find_stock_differences(project, closed, received)


def find_money_differences(project: Project, closed: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield orders whose price was not captured, and cancelled ones that were not refunded."""
    ledger = {row["order_number"]: row for row in project.query(MONEY, database=PAYMENTS)}
    for number, order in closed.items():
        row = ledger.get(number, {"state": "none", "captured_minor": 0, "refunded_minor": 0})
        kept_minor = row["captured_minor"] - row["refunded_minor"]
        if kept_minor != (order["total_minor"] if order["state"] == "completed" else 0):
            yield f"order {number} is {order['state']} and {kept_minor} of {order['total_minor']} are kept: {show(row)}"
        if row["state"] == "held":
            yield f"order {number} is {order['state']} and its money is still held"


def find_parcel_differences(project: Project, closed: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield completed orders without a parcel, and cancelled ones with one."""
    statement = "SELECT order_number FROM shipping_sandboxbooking WHERE state = 'booked'"
    booked = {row["order_number"] for row in project.query(statement, database=SHIPPING)}
    for number, order in closed.items():
        if (number in booked) != (order["state"] == "completed"):
            yield f"order {number} is {order['state']} and a parcel is {'' if number in booked else 'not '}booked"


def find_stock_differences(
    project: Project, closed: dict[str, dict[str, Any]], received: Mapping[str, int]
) -> Iterator[str]:
    """Yield completed orders that did not ship, cancelled ones that hold stock, and unexplained stock."""
    statement = "SELECT order_number, state FROM inventory_reservation WHERE order_number <> ''"
    states = {row["order_number"]: row["state"] for row in project.query(statement, database=INVENTORY)}
    for number, order in closed.items():
        state = states.get(number, "none")
        allowed = {"shipped"} if order["state"] == "completed" else {"none", "released"}
        if state not in allowed:
            yield f"order {number} is {order['state']} and its reservation is {state}"
    stored = project.query("SELECT sku, received FROM inventory_stockitem", database=INVENTORY)
    if {row["sku"]: row["received"] for row in stored} != dict(received):
        yield f"the stock is not what came in: {stored}"


def describe_history(project: Project, found: list[str]) -> Iterator[str]:
    """Yield the history of every saga whose order number or id occurs in the messages."""
    for order in project.query(ORDERS):
        if any(order["number"] in sentence or str(order["saga_id"]) in sentence for sentence in found):
            yield f"\nOrder {order['number']}, saga {order['saga_id']}:"
            statement = (
                "SELECT number, at, what, step, reason, data FROM sagas_sagahistory WHERE saga_id = %s ORDER BY 1"
            )
            yield from (show(row) for row in project.query(statement, [order["saga_id"]]))


def show(row: dict[str, Any]) -> str:
    """Format a row on one line."""
    return ", ".join(f"{name}={value}" for name, value in row.items())
