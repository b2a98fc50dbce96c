"""Checkout and cancellation of orders. Sagas end them by ``transitions``, choreographed ones by ``decisions``."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from payments import services as payments
from payments.exceptions import AmountNotChargeable, GatewayMisconfigured
from payments.money import format_money
from sagas import OperationRefused, SagaNotFound
from sagas.choreography import start as start_choreography
from sagas.core.states import AbortRequest, SagaState
from sagas.engine import advance
from sagas.events.settings import get_event_settings
from sagas.exceptions import PermissionRefused, TransactionConflict
from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.actor import Actor

from . import choreography, decisions, idempotency
from .choreography import CheckoutEvents
from .exceptions import (
    CancelNotAllowed,
    CancelTooLate,
    EventsOff,
    MixedCurrencies,
    PriceChanged,
    RequestInFlight,
    TotalNotChargeable,
    UnknownProducts,
)
from .idempotency import StoredAnswer
from .models import Coordination, Order, OrderLine, OrderStatus, Product
from .numbers import generate_order_number
from .reasons import Reason
from .requests import CheckoutRequest, LineRequest, Money
from .sagas import CheckoutSaga
from .selectors import get_order
from .steps import CheckoutInput
from .summaries import summarize_new
from .transitions import confirm_order, reject_order

logger = logging.getLogger(__name__)

__all__ = ["CheckoutAnswer", "checkout", "confirm_order", "place_order", "reject_order", "request_cancel"]

ACCEPTED = 202
CANCEL_REASON = "The customer asked for it."
TURNED_BACK = frozenset({SagaState.COMPENSATING.value, SagaState.COMPENSATED.value})


@dataclass(frozen=True, kw_only=True)
class CheckoutAnswer:
    """The answer to a checkout request."""

    order_number: str
    """The order."""
    saga_id: UUID
    """Its saga."""
    status: int
    """The HTTP status."""
    body: dict[str, Any]
    """The order as it was right after it was placed."""
    is_replayed: bool
    """Whether this is the stored answer to an earlier request."""


def checkout(
    *, customer: AbstractBaseUser, key: str, digest: str, request: CheckoutRequest, traceparent: str = ""
) -> CheckoutAnswer:
    """Place an order once for each idempotency key: order, saga and the remembered answer are one transaction.

    Raises: RequestInFlight, IdempotencyKeyReused, UnknownProducts, MixedCurrencies, TotalNotChargeable, PriceChanged;
    nothing is stored then.
    Locks: the key, by an advisory lock.
    Tx: opens one.
    """
    with transaction.atomic():
        is_mine = idempotency.lock_key(customer, key)
        # Read without the lock, too: its holder may be another repeat of a request that was committed long ago.
        known = idempotency.find_answer(customer, key, digest=digest)
        if known is not None:
            return _answer(known, is_replayed=True)
        if not is_mine:
            raise RequestInFlight
        order, lines = _place(customer, request, traceparent)
        answer = StoredAnswer(order=order, status=ACCEPTED, body=summarize_new(order, lines))
        idempotency.remember_answer(customer, key, digest=digest, answer=answer)
    return _answer(answer, is_replayed=False)


def place_order(*, customer: AbstractBaseUser, request: CheckoutRequest, traceparent: str = "") -> Order:
    """Store a pending order at today's prices, and start its saga with it.

    Raises: UnknownProducts, MixedCurrencies, TotalNotChargeable, PriceChanged; nothing is stored then.
    Tx: opens one, or joins the caller's.
    """
    with transaction.atomic():
        order, _ = _place(customer, request, traceparent)
    return order


def request_cancel(*, number: str, user: AbstractBaseUser) -> Order:
    """Ask for the order to be cancelled; asking again, or for one that is being cancelled anyway, changes nothing.

    Raises: OrderNotFound, CancelNotAllowed (staff without the permission), CancelTooLate; TransactionConflict.
    Tx: must not be inside one.
    """
    order = get_order(number, viewer=user)
    if order.status == OrderStatus.CANCELLED:
        return order
    is_owner = order.owner_id == user.pk
    if is_owner and order.coordination == Coordination.CHOREOGRAPHY:
        decisions.request_cancel(number, Reason.CANCELLED_BY_CUSTOMER)
        return get_order(number, viewer=user)
    actor = Actor.of_owner(user) if is_owner else Actor.of_user(user)
    try:
        operations.cancel(order.saga_id, actor=actor, reason=CANCEL_REASON)
    except PermissionRefused as error:
        raise CancelNotAllowed(number) from error
    except TransactionConflict:
        raise  # whether it is too late is not known
    except (OperationRefused, SagaNotFound) as error:
        if not _is_turning_back(order.saga_id):
            raise CancelTooLate(number) from error
    return order


def _place(customer: AbstractBaseUser, request: CheckoutRequest, traceparent: str) -> tuple[Order, list[OrderLine]]:
    products = _find_products(request.lines)
    total = _add_up(request.lines, products)
    if request.expected_total not in (None, total):
        raise PriceChanged(amount_minor=total.amount_minor, currency=total.currency)
    _require_chargeable(total)
    is_choreographed = request.coordination == Coordination.CHOREOGRAPHY
    if is_choreographed and not get_event_settings().are_on:
        raise EventsOff
    number = generate_order_number()
    saga = _start_saga(customer, number, traceparent, is_choreographed=is_choreographed)
    order = _store_order(customer, request, number=number, total=total, saga_id=saga.pk)
    lines = [_build_line(order, index, line, products[line.sku]) for index, line in enumerate(request.lines)]
    OrderLine.objects.bulk_create(lines)
    if is_choreographed:
        choreography.announce(order, lines)
    return order, lines


def _start_saga(customer: AbstractBaseUser, number: str, traceparent: str, *, is_choreographed: bool) -> Saga:
    business_keys = {"order": number, "customer": customer.get_username()[:120]}
    actor = Actor.of_owner(customer).name
    if is_choreographed:
        return start_choreography(
            CheckoutEvents, key=number, business_keys=business_keys, actor=actor, traceparent=traceparent
        )
    return advance.start(
        CheckoutSaga,
        CheckoutInput(order_number=number),
        business_keys=business_keys,
        actor=actor,
        traceparent=traceparent,
    )


def _find_products(lines: tuple[LineRequest, ...]) -> dict[str, Product]:
    products = Product.objects.filter(sku__in=[line.sku for line in lines], is_active=True)
    found = {product.sku: product for product in products}
    if missing := {position: line.sku for position, line in enumerate(lines) if line.sku not in found}:
        raise UnknownProducts(missing)
    return found


def _add_up(lines: tuple[LineRequest, ...], products: Mapping[str, Product]) -> Money:
    currencies = sorted({product.currency for product in products.values()})
    if len(currencies) != 1:
        raise MixedCurrencies(currencies)
    amount_minor = sum(products[line.sku].unit_price_minor * line.quantity for line in lines)
    return Money(amount_minor=amount_minor, currency=currencies[0])


def _require_chargeable(total: Money) -> None:
    try:
        payments.require_chargeable(amount_minor=total.amount_minor, currency=total.currency)
    except AmountNotChargeable as error:
        # The customer can do something about it; the message for the shop is in the log.
        logger.warning("checkout refused: %s", error)
        raise TotalNotChargeable(format_money(total.amount_minor, total.currency)) from error
    except GatewayMisconfigured:
        # The step that asks the provider says so to an operator; the order is accepted, and waits.
        return


def _store_order(
    customer: AbstractBaseUser, request: CheckoutRequest, *, number: str, total: Money, saga_id: UUID
) -> Order:
    address = request.shipping_address
    return Order.objects.create(
        number=number,
        owner=customer,
        payment_method=request.payment_method,
        total_minor=total.amount_minor,
        currency=total.currency,
        ship_to_name=address.name,
        ship_to_line1=address.line1,
        ship_to_line2=address.line2,
        ship_to_city=address.city,
        ship_to_postal_code=address.postal_code,
        ship_to_country=address.country,
        coordination=request.coordination,
        saga_id=saga_id,
    )


def _build_line(order: Order, position: int, line: LineRequest, product: Product) -> OrderLine:
    return OrderLine(
        order=order,
        position=position,
        sku=product.sku,
        name=product.name,
        unit_price_minor=product.unit_price_minor,
        quantity=line.quantity,
    )


def _is_turning_back(saga_id: UUID) -> bool:
    saga = Saga.objects.filter(pk=saga_id).values_list("state", "abort_request").first()
    return saga is not None and (saga[0] in TURNED_BACK or saga[1] == AbortRequest.CANCEL.value)


def _answer(stored: StoredAnswer, *, is_replayed: bool) -> CheckoutAnswer:
    return CheckoutAnswer(
        order_number=stored.order.number,
        saga_id=stored.order.saga_id,
        status=stored.status,
        body=stored.body,
        is_replayed=is_replayed,
    )
