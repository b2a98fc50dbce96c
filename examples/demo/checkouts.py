"""The demo's checkouts: requests and expected ends."""

from dataclasses import dataclass
from typing import Any

from payments.gateways.ledger import LedgerOutcome, SandboxOperation
from payments.states import OperationKind

from .client import ShopClient

CUSTOMER = ("customer", "customer")


@dataclass(frozen=True, kw_only=True)
class DemoCheckout:
    """Kind of checkout and its expected end.

    title: for display. sku, quantity, payment_method: the order. saga_state, order_status, captures: the end.
    """

    title: str
    sku: str
    quantity: int
    payment_method: str
    saga_state: str
    order_status: str
    captures: int

    def place(self, client: ShopClient) -> dict[str, Any]:
        """Place the checkout through the REST endpoint.

        Returns: the order in the endpoint's response.
        Raises: RuntimeError if the endpoint did not accept it.
        """
        answer = client.check_out(describe_checkout(self.sku, self.quantity, self.payment_method))
        if answer.status != 202:
            raise RuntimeError(f"The checkout '{self.title}' returned {answer.status}: {answer.body}")
        return dict(answer.body)

    def find_differences(self, order: dict[str, Any]) -> list[str]:
        """Compare the end of an order with the expected one.

        Returns: one line for each difference; empty if there is none.
        """
        found = {
            "saga": (order["saga"]["state"], self.saga_state),
            "order": (order["status"], self.order_status),
            "captures in the gateway's ledger": (count_captures(order["number"]), self.captures),
        }
        return [f"{what}: {seen}, expected {due}" for what, (seen, due) in found.items() if seen != due]


def describe_checkout(
    sku: str, quantity: int, payment_method: str, *, postal_code: str = "H91 E2V4"
) -> dict[str, object]:
    """Return the body of a checkout request."""
    return {
        "lines": [{"sku": sku, "quantity": quantity}],
        "payment_method": payment_method,
        "shipping_address": {
            "name": "Ada Customer",
            "line1": "1 Harbour Street",
            "city": "Galway",
            "postal_code": postal_code,
            "country": "IE",
        },
    }


def count_captures(order_number: str) -> int:
    """Return the number of captures for an order in the sandbox gateway's own ledger."""
    return SandboxOperation.objects.filter(
        authorization__order_number=order_number,
        kind=OperationKind.CAPTURE,
        outcome=LedgerOutcome.SUCCEEDED,
    ).count()


CHECKOUTS = (
    DemoCheckout(
        title="everything works",
        sku="TEA-EARL-GREY",
        quantity=2,
        payment_method="pm_card_visa",
        saga_state="completed",
        order_status="confirmed",
        captures=1,
    ),
    DemoCheckout(
        title="out of stock",
        sku="SCONE-SOLD-OUT",
        quantity=1,
        payment_method="pm_card_visa",
        saga_state="compensated",
        order_status="cancelled",
        captures=0,
    ),
    DemoCheckout(
        title="payment declined",
        sku="MUG-WHITE",
        quantity=1,
        payment_method="pm_card_declined",
        saga_state="compensated",
        order_status="cancelled",
        captures=0,
    ),
    DemoCheckout(
        title="the gateway's first answer is lost",
        sku="TEA-SENCHA",
        quantity=1,
        payment_method="pm_card_timeout_once",
        saga_state="completed",
        order_status="confirmed",
        captures=1,
    ),
)
