"""Adapters of the checkout: mapping from a participant's errors to the engine's."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from inventory.exceptions import OutOfStock, ReservationKeyReused, ReservationNotFound, ReservationStateConflict
from orders import steps
from orders.models import Order
from orders.sagas import CheckoutSaga
from orders.steps import CheckoutInput
from payments.exceptions import (
    GatewayAnswerLost,
    GatewayMisconfigured,
    GatewayUnavailable,
    PaymentDeclined,
    PaymentKeyReused,
    PaymentNotFound,
    PaymentStateConflict,
)
from sagas import Fenced, Misconfigured, OutcomeUnknown, RetryLater, StepContext
from sagas.core.states import Direction, Kind
from shipping.exceptions import AddressNotServed, CarrierAnswerLost, CarrierUnavailable, ShipmentKeyReused

pytestmark = pytest.mark.django_db(databases="__all__")

CONFLICT = PaymentStateConflict(asked="capture", key="k", state="voided", advice="")
DECLINED = PaymentDeclined(code="card_declined", key="k")
NOT_SERVED = AddressNotServed(postal_code="00000", country="GB")
AUTHORIZE, CAPTURE, VOID = "payments.authorize", "payments.capture", "payments.void"
BOOK, CANCEL = "shipping.book", "shipping.cancel"
RESERVE, SHIP = "inventory.reserve", "inventory.ship"


def make_context(step: str, direction: Direction = Direction.ACTION) -> StepContext[CheckoutInput]:
    return StepContext(
        saga_id=uuid4(),
        step=step,
        direction=direction,
        input=CheckoutInput(order_number="ORD-7Q"),
        results={},
        attempt=1,
    )


def make_fail(service: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a participant's service raise."""

    def fail(**_arguments: Any) -> None:
        raise error

    module, name = service.split(".")
    monkeypatch.setattr(getattr(steps, module), name, fail)


@pytest.mark.parametrize(
    ("adapter", "service", "error", "means"),
    [
        (steps.reserve_stock, RESERVE, OutOfStock(key="k", shortages=[]), OutOfStock),
        (steps.reserve_stock, RESERVE, Fenced("tombstone"), Fenced),
        (steps.reserve_stock, RESERVE, ReservationKeyReused("k"), Misconfigured),
        (steps.authorize_payment, AUTHORIZE, DECLINED, PaymentDeclined),
        (steps.authorize_payment, AUTHORIZE, Fenced("tombstone"), Fenced),
        (steps.authorize_payment, AUTHORIZE, GatewayUnavailable("away"), RetryLater),
        (steps.authorize_payment, AUTHORIZE, GatewayAnswerLost("lost"), OutcomeUnknown),
        (steps.authorize_payment, AUTHORIZE, GatewayMisconfigured("bad key"), Misconfigured),
        (steps.authorize_payment, AUTHORIZE, PaymentKeyReused("k"), Misconfigured),
        (steps.void_payment, VOID, GatewayUnavailable("away"), RetryLater),
        (steps.void_payment, VOID, GatewayAnswerLost("lost"), OutcomeUnknown),
        (steps.void_payment, VOID, GatewayMisconfigured("bad key"), Misconfigured),
        (steps.void_payment, VOID, CONFLICT, PaymentStateConflict),
        (steps.book_shipment, BOOK, NOT_SERVED, AddressNotServed),
        (steps.book_shipment, BOOK, Fenced("tombstone"), Fenced),
        (steps.book_shipment, BOOK, CarrierUnavailable("away"), RetryLater),
        (steps.book_shipment, BOOK, CarrierAnswerLost("lost"), OutcomeUnknown),
        (steps.book_shipment, BOOK, ShipmentKeyReused("k"), Misconfigured),
        (steps.cancel_shipment, CANCEL, CarrierUnavailable("away"), RetryLater),
        (steps.cancel_shipment, CANCEL, CarrierAnswerLost("lost"), OutcomeUnknown),
        (steps.capture_payment, CAPTURE, DECLINED, PaymentDeclined),
        (steps.capture_payment, CAPTURE, GatewayUnavailable("away"), RetryLater),
        (steps.capture_payment, CAPTURE, GatewayAnswerLost("lost"), OutcomeUnknown),
        (steps.capture_payment, CAPTURE, GatewayMisconfigured("bad key"), Misconfigured),
        (steps.capture_payment, CAPTURE, PaymentNotFound("k"), Misconfigured),
        (steps.capture_payment, CAPTURE, CONFLICT, Misconfigured),
        (steps.ship_stock, SHIP, ReservationNotFound("k"), Misconfigured),
        (steps.ship_stock, SHIP, ReservationStateConflict("released", key="k"), ReservationStateConflict),
    ],
)
def test_error_of_a_participant_is_mapped_to_the_engines(
    order: Order,
    monkeypatch: pytest.MonkeyPatch,
    adapter: Callable[..., Any],
    service: str,
    error: Exception,
    means: type[Exception],
) -> None:
    make_fail(service, error, monkeypatch)

    with pytest.raises(means) as caught:
        adapter(make_context("some_step"))

    assert type(caught.value) is means
    assert str(error) in str(caught.value)


def test_payment_steps_share_the_key_of_the_authorisation(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def remember(**arguments: str) -> Order:
        asked.append(arguments)
        return order

    for name in ("authorize", "capture", "void"):
        monkeypatch.setattr(steps.payments, name, remember)
    capture = make_context("capture_payment")
    void = make_context("authorize_payment", Direction.COMPENSATION)

    steps.capture_payment(capture)
    steps.void_payment(void)

    assert asked == [
        {"key": f"{capture.saga_id}:authorize_payment", "provider_key": f"{capture.saga_id}:capture_payment"},
        {"key": f"{void.saga_id}:authorize_payment", "provider_key": f"{void.saga_id}:authorize_payment:compensate:0"},
    ]


def test_checkout_is_declared_as_documented() -> None:
    declared = [
        (step.name, step.kind, step.participant, step.external, step.action is not None, step.compensation is not None)
        for step in CheckoutSaga.steps
    ]

    assert declared == [
        ("place_order", Kind.COMPENSATABLE, None, False, False, True),
        ("reserve_stock", Kind.COMPENSATABLE, "inventory", False, True, True),
        ("authorize_payment", Kind.COMPENSATABLE, "payments", True, True, True),
        ("book_shipment", Kind.COMPENSATABLE, "shipping", True, True, True),
        ("capture_payment", Kind.PIVOT, "payments", True, True, False),
        ("ship_stock", Kind.RETRIABLE, "inventory", False, True, False),
        ("confirm_order", Kind.RETRIABLE, None, False, True, False),
    ]
    assert (CheckoutSaga.name, CheckoutSaga.version) == ("checkout", 1)
    assert CheckoutSaga.deadline == timedelta(minutes=15)
    assert CheckoutSaga.input is CheckoutInput
