"""The checkout saga."""

from datetime import timedelta

from inventory.exceptions import OutOfStock, ReservationStateConflict
from payments.exceptions import PaymentDeclined, PaymentStateConflict
from sagas import Compensatable, Pivot, Retriable, SagaDefinition
from shipping.exceptions import AddressNotServed

from . import steps
from .exceptions import OrderStateConflict


class CheckoutSaga(SagaDefinition):
    """Pay for and ship a placed order, or undo everything."""

    place_order = Compensatable(  # created together with the saga
        compensation=steps.reject_order, compensation_refuses_on=[OrderStateConflict]
    )
    reserve_stock = Compensatable(
        steps.reserve_stock,
        steps.release_stock,
        participant="inventory",
        refuses_on=[OutOfStock],
        compensation_refuses_on=[ReservationStateConflict],
    )
    authorize_payment = Compensatable(
        steps.authorize_payment,
        steps.void_payment,
        participant="payments",
        external=True,
        refuses_on=[PaymentDeclined],
        refusal_settles=True,
        compensation_refuses_on=[PaymentStateConflict],
        business_keys={"payment": "reference"},
    )
    book_shipment = Compensatable(
        steps.book_shipment,
        steps.cancel_shipment,
        participant="shipping",
        external=True,
        refuses_on=[AddressNotServed],
        refusal_settles=True,
    )
    capture_payment = Pivot(
        steps.capture_payment, participant="payments", external=True, refuses_on=[PaymentDeclined], refusal_settles=True
    )
    ship_stock = Retriable(steps.ship_stock, participant="inventory", refuses_on=[ReservationStateConflict])
    confirm_order = Retriable(steps.confirm_order, refuses_on=[OrderStateConflict])

    class Meta:
        name = "checkout"
        version = 1
        input = steps.CheckoutInput
        deadline = timedelta(minutes=15)
