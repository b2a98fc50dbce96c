"""Both styles of the checkout leave the same behind: order, money, authorisations, stock and parcels (I10)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from orders import services
from orders.exceptions import CancelTooLate
from orders.models import Order
from payments.exceptions import GatewayAnswerLost
from payments.gateways.sandbox import SandboxGateway, clear_failure
from payments.models import SandboxAuthorization
from sagas.models import Intent
from shipping.carriers.sandbox import SandboxCarrier
from shipping.exceptions import CarrierAnswerLost

from . import shop
from .shop import SOLD_OUT, Ledgers

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("events")]

STYLES = ("orchestration", "choreography")
KEPT = Ledgers(status="confirmed", reason="", net_minor=2300, shipped=2, parcels=1)


def cancelled(reason: str) -> Ledgers:
    """Return what a cancelled order leaves behind: nothing."""
    return Ledgers(status="cancelled", reason=reason)


def run_plainly(order: Order, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it to its end."""
    shop.run(order)


def cancel_early(order: Order, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel it before anything happens."""
    services.request_cancel(number=order.number, user=order.owner)
    shop.run(order)


def cancel_late(order: Order, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Try to cancel it once it is confirmed."""
    shop.run(order, until=lambda: Order.objects.get(pk=order.pk).status == "confirmed")
    with pytest.raises(CancelTooLate):
        services.request_cancel(number=order.number, user=order.owner)
    shop.run(order)


def lose_first(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, lost: type[Exception]) -> None:
    """Lose the first answer of a call, after it took effect."""
    original, calls = getattr(owner, method), []

    def call(self: Any, **given: Any) -> Any:
        answer = original(self, **given)
        calls.append(method)
        if len(calls) == 1:
            raise lost(f"The answer to {method} was lost.", key="")
        return answer

    monkeypatch.setattr(owner, method, call)


def lose_quote(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose the carrier's first quote."""
    lose_first(monkeypatch, SandboxCarrier, "quote", CarrierAnswerLost)
    shop.run(order)


def lose_refund(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose the first answer of what gives the money back."""
    for method in ("void", "refund"):
        lose_first(monkeypatch, SandboxGateway, method, GatewayAnswerLost)
    shop.run(order)


def clear_later(order: Order, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the failure of the refund once it has failed."""
    shop.run(order)
    assert shop.find_saga(order).closed_at is None
    clear_failure(key=SandboxAuthorization.objects.get(order_number=order.number).key)
    shop.run(order, patience=timedelta(hours=6))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of checkout, and what it must leave behind in both styles."""

    expected: Ledgers
    given: dict[str, str] = field(default_factory=dict)
    """How the order differs from one that nothing stands against."""
    drive: Callable[[Order, pytest.MonkeyPatch], None] = run_plainly
    """What happens to it."""


def of_card(name: str) -> dict[str, str]:
    return {"payment_method": f"pm_card_{name}"}


SCENARIOS = {
    "happy": Scenario(expected=KEPT),
    "out of stock": Scenario(given={"sku": SOLD_OUT}, expected=cancelled("out_of_stock")),
    "card declined": Scenario(given=of_card("declined"), expected=cancelled("payment_declined")),
    "capture declined": Scenario(given=of_card("capture_declined"), expected=cancelled("payment_declined")),
    "address not served": Scenario(given={"postal_code": "00000"}, expected=cancelled("address_not_served")),
    "provider unavailable": Scenario(given=of_card("unavailable"), expected=cancelled("temporarily_unavailable")),
    "cancelled early": Scenario(drive=cancel_early, expected=cancelled("cancelled_by_customer")),
    "cancelled late": Scenario(drive=cancel_late, expected=KEPT),
    "authorisation lost": Scenario(given=of_card("timeout_once"), expected=KEPT),
    "capture lost": Scenario(given=of_card("capture_timeout_once"), expected=KEPT),
    "quote lost": Scenario(drive=lose_quote, expected=KEPT),
    "booking lost": Scenario(given={"postal_code": "00001"}, expected=KEPT),
    "refund lost": Scenario(
        given={"postal_code": "00000"}, drive=lose_refund, expected=cancelled("address_not_served")
    ),
    "refund fails until cleared": Scenario(
        given={"postal_code": "00000", **of_card("refund_fails")}, drive=clear_later,
        expected=cancelled("address_not_served"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = SCENARIOS[name]
    shop.fill_shop()
    order = shop.place(style, **scenario.given)

    scenario.drive(order, monkeypatch)

    assert shop.read_ledgers(order.number) == scenario.expected
    on_hand, reserved, shipped = shop.read_stock()
    assert (on_hand + reserved + shipped, reserved) == (shop.ON_HAND, 0)
    assert shop.find_saga(order).state == ("completed" if scenario.expected.status == "confirmed" else "compensated")
    assert not Intent.objects.filter(closed_at=None).exists()
