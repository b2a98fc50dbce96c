"""Steps of the checkout saga: one adapter to a participant for each action and compensation.

An adapter reads what it needs from the order, calls one service, and says in the engine's words how that ended. It
decides nothing and catches only what the participant documents.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from inventory import services as inventory
from inventory.exceptions import ReservationKeyReused, ReservationNotFound
from payments import services as payments
from payments.exceptions import PaymentKeyReused, PaymentNotFound, PaymentStateConflict, translate_gateway
from sagas import Misconfigured, StepContext
from sagas.models import Saga
from sagas.operators.actor import Actor
from shipping import services as shipping
from shipping.exceptions import ShipmentKeyReused, translate_carrier

from . import transitions
from .models import Order
from .reasons import explain


@dataclass(frozen=True, kw_only=True)
class CheckoutInput:
    """The input of a checkout; everything else is read from the order."""

    order_number: str
    """The order's number."""


Step = StepContext[CheckoutInput]


def reject_order(step: Step) -> None:
    """Cancel the order, with the reason why the saga compensates."""
    order = _get_order(step)
    cause = Saga.objects.values_list("cause", flat=True).get(pk=step.saga_id)
    transitions.reject_order(number=order.number, reason=explain(cause, owner=Actor.of_owner(order.owner).name))


def reserve_stock(step: Step) -> dict[str, Any]:
    """Shape: ``{"reservation": id}``."""
    order = _get_order(step)
    lines = [inventory.Line(sku=line.sku, quantity=line.quantity) for line in order.lines.all()]
    with _translate_mistakes():
        reservation = inventory.reserve(key=step.key, order_number=order.number, lines=lines)
    return {"reservation": str(reservation.pk)}


def release_stock(step: Step) -> None:
    """Give the reserved stock back."""
    inventory.release(key=step.key)


def authorize_payment(step: Step) -> dict[str, Any]:
    """Shape: ``{"payment": id, "reference": the provider's own name for it}``."""
    order = _get_order(step)
    with translate_gateway(), _translate_mistakes():
        payment = payments.authorize(
            key=step.key,
            order_number=order.number,
            amount_minor=order.total_minor,
            currency=order.currency,
            payment_method=order.payment_method,
        )
    return {"payment": str(payment.pk), "reference": payment.authorization_reference}


def void_payment(step: Step) -> None:
    """Void the authorisation, if there is one, and close its key at the provider."""
    with translate_gateway():
        payments.void(key=step.key, provider_key=step.provider_key)


def book_shipment(step: Step) -> dict[str, Any]:
    """Shape: ``{"shipment": id}``."""
    order = _get_order(step)
    address = shipping.Address(
        name=order.ship_to_name,
        line1=order.ship_to_line1,
        line2=order.ship_to_line2,
        city=order.ship_to_city,
        postal_code=order.ship_to_postal_code,
        country=order.ship_to_country,
    )
    with translate_carrier(), _translate_mistakes():
        shipment = shipping.book(key=step.key, order_number=order.number, address=address)
    return {"shipment": str(shipment.pk)}


def cancel_shipment(step: Step) -> None:
    """Cancel the booking, if there is one, and close its key at the carrier."""
    with translate_carrier():
        shipping.cancel(key=step.key, provider_key=step.provider_key)


def capture_payment(step: Step) -> dict[str, Any]:
    """Shape: ``{"payment": id}``."""
    with translate_gateway(), _translate_mistakes():
        payment = payments.capture(key=step.key_of("authorize_payment"), provider_key=step.provider_key)
    return {"payment": str(payment.pk)}


def ship_stock(step: Step) -> None:
    """Count the reserved stock as shipped."""
    with _translate_mistakes():
        inventory.ship(key=step.key_of("reserve_stock"))


def confirm_order(step: Step) -> None:
    """Confirm the order."""
    transitions.confirm_order(number=step.input.order_number)


def _get_order(step: Step) -> Order:
    return Order.objects.select_related("owner").get(number=step.input.order_number)


@contextmanager
def _translate_mistakes() -> Iterator[None]:
    """Hold the saga where nothing was done and a retry would get the same answer."""
    try:
        yield
    except (
        PaymentKeyReused,
        PaymentNotFound,
        PaymentStateConflict,
        ReservationKeyReused,
        ReservationNotFound,
        ShipmentKeyReused,
    ) as error:
        raise Misconfigured(str(error)) from error
