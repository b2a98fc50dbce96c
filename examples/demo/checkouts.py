"""The demo's checkouts: requests and expected ends."""

from dataclasses import dataclass
from typing import Any

from payments.gateways.ledger import LedgerOutcome, SandboxOperation
from payments.states import OperationKind
from sagas.core.states import Coordination

from .client import OPEN_STATUSES, ShopClient

CUSTOMER = ("customer", "customer")
SERVED = "H91 E2V4"


@dataclass(frozen=True, kw_only=True)
class DemoCheckout:
    """Kind of checkout and its expected end.

    title: for display. sku, quantity, payment_method, postal_code, coordination: the order. is_cancelled: the customer
    cancels it at once. saga_state, order_status, payments_kept: the end.
    """

    title: str
    sku: str = "TEA-EARL-GREY"
    quantity: int = 1
    payment_method: str = "pm_card_visa"
    postal_code: str = SERVED
    coordination: Coordination = Coordination.ORCHESTRATION
    is_cancelled: bool = False
    saga_state: str = "compensated"
    order_status: str = "cancelled"
    payments_kept: int = 0

    @property
    def style(self) -> str:
        """Return its coordination in words."""
        return "Checkout by events" if self.coordination == Coordination.CHOREOGRAPHY else "Checkout"

    def place(self, client: ShopClient) -> dict[str, Any]:
        """Place the checkout through the REST endpoint, and cancel it if it is to be cancelled.

        Returns: the order in the endpoint's response.
        Raises: RuntimeError if the endpoint did not accept it.
        """
        body = describe_checkout(
            self.sku, self.quantity, self.payment_method, postal_code=self.postal_code, coordination=self.coordination
        )
        answer = client.check_out(body)
        if answer.status == 202 and self.is_cancelled:
            answer = client.cancel(str(answer.body["number"]))
        if answer.status != 202:
            raise RuntimeError(f"The checkout '{self.title}' returned {answer.status}: {answer.body}")
        return dict(answer.body)

    def has_arrived(self, order: dict[str, Any]) -> bool:
        """Return whether both the order and its saga have ended: the saga closes a moment later."""
        is_open = order["saga"]["state"] in {"pending", "running", "compensating"}
        return order["status"] not in OPEN_STATUSES and not is_open

    def find_differences(self, order: dict[str, Any]) -> list[str]:
        """Compare the end of an order with the expected one.

        Returns: one line for each difference; empty if there is none.
        """
        found = {
            "saga": (order["saga"]["state"], self.saga_state),
            "order": (order["status"], self.order_status),
            "payments kept in the gateway's ledger": (count_kept(order["number"]), self.payments_kept),
        }
        return [f"{what}: {seen}, expected {due}" for what, (seen, due) in found.items() if seen != due]


def describe_checkout(
    sku: str,
    quantity: int,
    payment_method: str,
    *,
    postal_code: str = SERVED,
    coordination: Coordination = Coordination.ORCHESTRATION,
) -> dict[str, object]:
    """Return the body of a checkout request."""
    return {
        "lines": [{"sku": sku, "quantity": quantity}],
        "payment_method": payment_method,
        "coordination": coordination.value,
        "shipping_address": {
            "name": "Ada Customer",
            "line1": "1 Harbour Street",
            "city": "Galway",
            "postal_code": postal_code,
            "country": "IE",
        },
    }


def count_kept(order_number: str) -> int:
    """Return the captures for an order in the sandbox gateway's own ledger, less the refunds."""
    done = SandboxOperation.objects.filter(
        authorization__order_number=order_number, outcome=LedgerOutcome.SUCCEEDED
    ).values_list("kind", flat=True)
    kinds = list(done)
    return kinds.count(OperationKind.CAPTURE) - kinds.count(OperationKind.REFUND)


COMMANDED = (
    DemoCheckout(
        title="everything works",
        quantity=2,
        saga_state="completed",
        order_status="confirmed",
        payments_kept=1,
    ),
    DemoCheckout(title="out of stock", sku="SCONE-SOLD-OUT"),
    DemoCheckout(title="payment declined", sku="MUG-WHITE", payment_method="pm_card_declined"),
    DemoCheckout(
        title="the gateway's first answer is lost",
        sku="TEA-SENCHA",
        payment_method="pm_card_timeout_once",
        saga_state="completed",
        order_status="confirmed",
        payments_kept=1,
    ),
)
WORKS_BY_EVENTS = DemoCheckout(
    title="everything works",
    coordination=Coordination.CHOREOGRAPHY,
    saga_state="completed",
    order_status="confirmed",
    payments_kept=1,
)
BY_EVENTS = (
    WORKS_BY_EVENTS,
    DemoCheckout(title="out of stock", sku="SCONE-SOLD-OUT", coordination=Coordination.CHOREOGRAPHY),
    DemoCheckout(title="payment declined", payment_method="pm_card_declined", coordination=Coordination.CHOREOGRAPHY),
    DemoCheckout(title="address not served", postal_code="00000", coordination=Coordination.CHOREOGRAPHY),
    # Its payment is being retried, so that the cancel is never too late.
    DemoCheckout(
        title="cancelled by the customer",
        payment_method="pm_card_unavailable",
        coordination=Coordination.CHOREOGRAPHY,
        is_cancelled=True,
    ),
)
