"""Checkouts of each kind, from the REST endpoint to the last row, on one database and on four."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from .shops import Shop, describe_checkout

CONFIRMED, CANCELLED, NEEDS_REVIEW = "confirmed", "cancelled", "needs_review"
NOT_SERVED = "00000"
CUSTOMERS_AT_ONCE = 20
EVIDENCE = ["--evidence", "Seen in the provider's own ledger"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Kind of checkout and its expected end.

    authorizations, captures, voids: the gateway's entries. asked: attempts of one step, if they matter.
    """

    payment_method: str = "pm_card_visa"
    sku: str = "TEA-SENCHA"
    postal_code: str = "H91 E2V4"
    status: str
    reason: str | None = None
    authorizations: int = 1
    captures: int = 0
    voids: int = 0
    asked: tuple[str, list[str]] = ("place_order", ["succeeded"])


KINDS = {
    "everything works": Kind(status=CONFIRMED, captures=1),
    "out of stock": Kind(
        sku="SCONE-SOLD-OUT", status=CANCELLED, reason="out_of_stock", authorizations=0,
        asked=("reserve_stock", ["refused"]),
    ),
    "declined": Kind(
        payment_method="pm_card_declined", status=CANCELLED, reason="payment_declined", authorizations=0,
        asked=("authorize_payment", ["refused"]),
    ),
    "declined at the capture": Kind(
        payment_method="pm_card_capture_declined", status=CANCELLED, reason="payment_declined", voids=1,
        asked=("capture_payment", ["refused"]),
    ),
    "one answer lost": Kind(
        payment_method="pm_card_timeout_once", status=CONFIRMED, captures=1,
        asked=("authorize_payment", ["unknown", "succeeded"]),
    ),
    "no answer ever": Kind(
        payment_method="pm_card_timeout", status=CANCELLED, reason="temporarily_unavailable", voids=1,
        asked=("authorize_payment", ["unknown"] * 4),
    ),
    "one answer to the capture lost": Kind(
        payment_method="pm_card_capture_timeout_once", status=CONFIRMED, captures=1,
        asked=("capture_payment", ["unknown", "succeeded"]),
    ),
    "gateway down": Kind(
        payment_method="pm_card_unavailable", status=CANCELLED, reason="temporarily_unavailable", authorizations=0,
        asked=("authorize_payment", ["retry"] * 4),
    ),
    "address not served": Kind(
        postal_code=NOT_SERVED, status=CANCELLED, reason="address_not_served", voids=1,
        asked=("book_shipment", ["refused"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_checkout_of_each_kind_ends_as_expected(shop: Shop, kind: Kind) -> None:
    number = shop.place(kind.payment_method, sku=kind.sku, postal_code=kind.postal_code)

    order = shop.wait_for(number, kind.status)

    assert order["reason"] == kind.reason
    assert order["saga"]["state"] == ("completed" if kind.status == CONFIRMED else "compensated")
    assert [shop.count_in_ledger(number, done) for done in ("authorize", "capture", "void", "refund")] == [
        kind.authorizations, kind.captures, kind.voids, 0,
    ]  # fmt: skip
    step, outcomes = kind.asked
    assert shop.list_attempts(number, step) == outcomes
    shop.assert_ledgers_balance()


def test_unknown_capture_waits_for_an_operator_who_confirms_it(shop: Shop) -> None:
    number = place_with_unknown_capture(shop)

    shop.operate("saga_resolve", number, "--step", "capture_payment", "--as", "succeeded", *EVIDENCE)

    shop.held_orders.discard(number)
    shop.wait_for(number, CONFIRMED)
    assert shop.count_in_ledger(number, "capture") == 1
    assert shop.count_in_ledger(number, "void") == 0
    shop.assert_ledgers_balance()


def test_unknown_capture_wrongly_marked_as_refused_still_waits_for_an_operator(shop: Shop) -> None:
    """The gateway did capture: it refuses the void, and an operator must refund."""
    number = place_with_unknown_capture(shop)

    shop.operate("saga_resolve", number, "--step", "capture_payment", "--as", "refused", *EVIDENCE)

    shop.wait_until_needing(number, "compensation_refused")
    order = shop.wait_for(number, NEEDS_REVIEW)
    assert order["saga"]["state"] == "compensating"
    assert [shop.count_in_ledger(number, done) for done in ("capture", "void", "refund")] == [1, 0, 0]
    shop.assert_ledgers_balance()

    refund_by_hand(shop, number)
    shop.operate("saga_resolve", number, "--step", "authorize_payment", "--as", "compensated", *EVIDENCE)

    shop.held_orders.discard(number)
    shop.wait_for(number, CANCELLED)
    assert [shop.count_in_ledger(number, done) for done in ("capture", "void", "refund")] == [1, 0, 1]
    shop.assert_ledgers_balance()


def test_failing_void_needs_attention_and_ends_after_clear_and_retry(shop: Shop) -> None:
    number = shop.place("pm_card_refund_fails", postal_code=NOT_SERVED)
    shop.held_orders.add(number)

    order = shop.wait_for(number, NEEDS_REVIEW)

    assert order["saga"]["state"] == "compensating"
    assert order["reason"] == "address_not_served"
    assert shop.list_reasons(number) == ["compensation_failing"]
    assert shop.list_attempts(number, "authorize_payment", "compensation") == ["retry"] * 4
    shop.assert_ledgers_balance()

    shop.project.manage("sandbox_clear", f"{shop.saga_of(number)}:authorize_payment")
    shop.operate("saga_retry", number)

    shop.held_orders.discard(number)
    shop.wait_for(number, CANCELLED)
    assert shop.list_attempts(number, "authorize_payment", "compensation") == [*["retry"] * 4, "succeeded"]
    assert shop.count_in_ledger(number, "void") == 1
    shop.assert_ledgers_balance()


def test_last_kettle_is_sold_once(shop: Shop) -> None:
    body = describe_checkout("pm_card_visa", sku="KETTLE-COPPER")
    with ThreadPoolExecutor(CUSTOMERS_AT_ONCE) as customers:
        answers = list(customers.map(lambda _: shop.client.check_out(body), range(CUSTOMERS_AT_ONCE)))
    assert [answer.status for answer in answers] == [202] * CUSTOMERS_AT_ONCE
    numbers = {shop.take(answer) for answer in answers}

    shop.wait_until_closed(numbers)

    ends = [(order["status"], order["reason"]) for order in map(shop.client.get_order, numbers)]
    assert len(numbers) == CUSTOMERS_AT_ONCE
    assert ends.count((CONFIRMED, None)) == 1
    assert ends.count((CANCELLED, "out_of_stock")) == CUSTOMERS_AT_ONCE - 1
    shop.assert_ledgers_balance()


def test_repeated_request_places_one_order(shop: Shop) -> None:
    body = describe_checkout("pm_card_visa")
    first = shop.client.check_out(body, key="one-and-the-same-request")

    second = shop.client.check_out(body, key="one-and-the-same-request")

    assert (first.status, second.status) == (202, 202)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.body == first.body
    shop.wait_for(shop.take(first), CONFIRMED)
    shop.assert_ledgers_balance()


def place_with_unknown_capture(shop: Shop) -> str:
    """Place a checkout whose capture is never answered, and check that it is held."""
    number = shop.place("pm_card_capture_timeout")
    shop.held_orders.add(number)
    order = shop.wait_for(number, NEEDS_REVIEW)
    assert order["saga"]["state"] == "running"
    assert shop.list_reasons(number) == ["outcome_unknown"]
    assert shop.list_attempts(number, "capture_payment") == ["unknown"] * 4
    assert shop.count_in_ledger(number, "capture") == 1
    shop.assert_ledgers_balance()
    return number


def refund_by_hand(shop: Shop, number: str) -> None:
    """Refund as an operator does who sees the capture at the provider."""
    key = f"{shop.saga_of(number)}:authorize_payment"
    shop.project.manage(
        "shell", "--command", f"from payments import services; services.refund(key={key!r}, provider_key='by-hand-1')"
    )
