"""Services that move money.

Each service is idempotent, safe to call concurrently, and works in any order under one step key. The intent is
committed, then the gateway is called without an open transaction, then the answer is committed. So a repeat after an
answer makes no call, and a repeat after a lost answer asks the gateway again under the same key. A void that comes
before its authorise leaves a tombstone here and closes the key at the provider.

``key`` is always the step key of the authorisation; ``provider_key`` is the idempotency key of this request.
"""

from collections.abc import Callable

from sagas import Fenced

from . import intents
from .exceptions import (
    ChargeUnfinished,
    GatewayConflict,
    GatewayKeyClosed,
    GatewayMisconfigured,
    GatewayUnavailable,
    PaymentDeclined,
    PaymentKeyReused,
    PaymentStateConflict,
)
from .gateways import get_gateway
from .gateways.base import Answer, Gateway
from .models import Payment, PaymentOperation
from .states import MOVES_ON_ASKING, OperationKind, OperationState, PaymentState

_VOID_STATES = (PaymentState.VOIDING, PaymentState.VOIDED)


def require_chargeable(*, amount_minor: int, currency: str) -> None:
    """Check that the provider can charge and refund this amount, without asking it or storing anything.

    Raises: AmountNotChargeable, GatewayMisconfigured.
    """
    get_gateway().require_chargeable(amount_minor=amount_minor, currency=currency)


def authorize(*, key: str, order_number: str, amount_minor: int, currency: str, payment_method: str) -> Payment:
    """Hold the money.

    Returns: the payment; a repeat gets the first one in its current state, unless it was voided.
    Raises: PaymentDeclined, Fenced (a void came first), GatewayUnavailable, GatewayMisconfigured, AmountNotChargeable
        (nothing happened), GatewayAnswerLost (call again), PaymentKeyReused.
    Locks: the payment.
    Tx: must not be inside one.
    """
    if not key or not order_number or not payment_method or amount_minor < 1:
        raise ValueError("A payment needs a key, an order number, a payment method and an amount of at least 1.")
    request = {
        "order_number": order_number,
        "amount_minor": amount_minor,
        "currency": currency,
        "payment_method": payment_method,
    }
    with intents.open_transaction():
        payment = intents.lock_or_create(key, state=PaymentState.AUTHORIZING, **request)
        _require_not_voided(payment)
        if any(getattr(payment, field) != value for field, value in request.items()):
            raise PaymentKeyReused(key)
        known = intents.find_operation(payment, kind=OperationKind.AUTHORIZE)
        if known is not None and known.state != OperationState.OPEN:
            return _answer(known)
        operation = intents.begin(
            payment, kind=OperationKind.AUTHORIZE, provider_key=key, amount_minor=amount_minor, known=known
        )
    try:
        answer = _ask(operation, lambda gateway: gateway.authorize(payment.authorization))
    except GatewayKeyClosed as error:
        raise _fence(key) from error
    operation = intents.record(operation, answer)
    _require_not_voided(operation.payment)
    return _answer(operation)


def capture(*, key: str, provider_key: str) -> Payment:
    """Capture the held money, at most once for any number of calls and provider keys.

    Returns: the captured payment; a repeat gets the same.
    Raises: PaymentDeclined, PaymentNotFound, PaymentStateConflict (not held, or voided), GatewayUnavailable,
        GatewayMisconfigured (nothing happened), GatewayAnswerLost (call again).
    Locks: the payment.
    Tx: must not be inside one.
    """
    with intents.open_transaction():
        payment = intents.lock(key)
        known = intents.find_operation(payment, kind=OperationKind.CAPTURE)
        is_answered = known is not None and known.state != OperationState.OPEN
        if known is not None and is_answered and payment.state not in _VOID_STATES:
            return _answer(known)
        _require_state(payment, OperationKind.CAPTURE, "Only a payment whose money is held can be captured.")
        # A second caller uses the first one's key, which is in ``known``: two requests, one capture.
        operation = intents.begin(
            payment,
            kind=OperationKind.CAPTURE,
            provider_key=provider_key,
            amount_minor=payment.amount_minor,
            known=known,
        )
    try:
        answer = _ask(
            operation, lambda gateway: gateway.capture(key=operation.provider_key, authorization=payment.authorization)
        )
    except GatewayConflict as error:
        raise _contradict(OperationKind.CAPTURE, payment, error) from error
    return _answer(intents.record(operation, answer))


def void(*, key: str, provider_key: str) -> Payment:
    """Release the held money, and ensure that none is held under the key later.

    Returns: the voided payment; a tombstone if there was no payment; a declined one unchanged.
    Raises: PaymentStateConflict (captured), GatewayUnavailable, GatewayMisconfigured (nothing happened),
        GatewayAnswerLost (call again).
    Locks: the payment.
    Tx: must not be inside one.
    """
    if not key or not provider_key:
        raise ValueError("A void needs the key of its payment and a key of its own.")
    with intents.open_transaction():
        payment = intents.lock_or_create(key, state=PaymentState.VOIDING)
        known = intents.find_operation(payment, kind=OperationKind.VOID, provider_key=provider_key)
        if payment.state == PaymentState.DECLINED or (known is not None and known.state != OperationState.OPEN):
            return payment
        _require_state(payment, OperationKind.VOID, "Issue a refund for captured money.")
        operation = intents.begin(payment, kind=OperationKind.VOID, provider_key=provider_key, known=known)
    try:
        answer = _ask(operation, lambda gateway: gateway.void(key=provider_key, authorization=payment.authorization))
    except GatewayConflict as error:
        raise _contradict(OperationKind.VOID, payment, error) from error
    payment = intents.record(operation, answer).payment
    _require_state(payment, OperationKind.VOID, "The gateway contradicts itself; look up the payment there.")
    return payment


def refund(*, key: str, provider_key: str, amount_minor: int | None = None) -> Payment:
    """Refund captured money: this amount, or all that is left.

    Returns: the payment; a repeat under the same provider key refunds nothing again.
    Raises: PaymentNotFound, PaymentStateConflict (not captured, or not that much left), PaymentDeclined,
        PaymentKeyReused, GatewayUnavailable, GatewayMisconfigured (nothing happened), GatewayAnswerLost (call again).
    Locks: the payment.
    Tx: must not be inside one.
    """
    if not provider_key or (amount_minor is not None and amount_minor < 1):
        raise ValueError("A refund needs a key of its own, and an amount of at least 1 if one is given.")
    _settle_capture(key)
    if amount_minor is not None:
        # Before the intent: a refund that can never be made would reserve its part of the refundable amount.
        require_chargeable(amount_minor=amount_minor, currency=intents.read(key).currency)
    with intents.open_transaction():
        payment = intents.lock(key)
        known = intents.find_operation(payment, kind=OperationKind.REFUND, provider_key=provider_key)
        if known is not None and amount_minor not in (None, known.amount_minor):
            raise PaymentKeyReused(provider_key)
        if known is not None and known.state != OperationState.OPEN:
            return _answer(known)
        operation = intents.begin(
            payment,
            kind=OperationKind.REFUND,
            provider_key=provider_key,
            amount_minor=known.amount_minor if known else _choose_refund(payment, amount_minor),
            known=known,
        )
    try:
        answer = _ask(
            operation,
            lambda gateway: gateway.refund(
                key=provider_key, authorization=payment.authorization, amount_minor=operation.amount_minor
            ),
        )
    except GatewayConflict as error:
        raise _contradict(OperationKind.REFUND, payment, error) from error
    return _answer(intents.record(operation, answer))


def charge(*, key: str, order_number: str, amount_minor: int, currency: str, payment_method: str) -> Payment:
    """Take the money at once: authorise and capture it, and hold nothing if the capture is declined.

    Returns: the captured payment; a repeat gets the same.
    Raises: PaymentDeclined (nothing taken, nothing held), ChargeUnfinished (held; call again), and what ``authorize``
        raises.
    Locks: the payment.
    Tx: must not be inside one.
    """
    if _find_declined_capture(key) is None:
        authorize(
            key=key, order_number=order_number, amount_minor=amount_minor, currency=currency,
            payment_method=payment_method,
        )  # fmt: skip
    try:
        return _capture_or_release(key)
    except (GatewayUnavailable, GatewayMisconfigured) as error:
        raise ChargeUnfinished(f"Payment {key} is held, neither captured nor released: {error}", key=key) from error


def undo_charge(*, key: str, provider_key: str) -> Payment:
    """Give back whatever was taken or is held under the key, and ensure that nothing is taken under it later.

    Returns: the refunded or voided payment; a tombstone if there was no payment; a declined one unchanged.
    Raises: PaymentDeclined (the refund), GatewayUnavailable, GatewayMisconfigured (nothing happened),
        GatewayAnswerLost (call again).
    Locks: the payment.
    Tx: must not be inside one.
    """
    try:
        payment = void(key=key, provider_key=f"{provider_key}:void")
    except PaymentStateConflict:
        payment = intents.read(key)
    if payment.state == PaymentState.CAPTURED:
        payment = refund(key=key, provider_key=provider_key)
    return payment


def reconcile(*, key: str) -> Payment:
    """Look up all unanswered operations at the provider, and store the answers that it knows.

    Changes nothing at the provider. A repeat of a service never looks up: it asks again under the same key.

    Raises: PaymentNotFound, GatewayUnavailable, GatewayMisconfigured, GatewayAnswerLost.
    Tx: must not be inside one.
    """
    with intents.open_transaction():
        payment = intents.lock(key)
        unanswered = intents.list_open(payment)
    gateway = get_gateway()
    for operation in unanswered:
        answer = gateway.find(key=operation.provider_key, authorization=payment.authorization)
        if answer is not None:
            payment = intents.record(operation, answer).payment
    return payment


def describe_look_up(payment: Payment) -> str:
    """Return a sentence on what a look-up found, and what it means for a step of unknown outcome."""
    unanswered = [operation.kind for operation in intents.list_open(payment)]
    if unanswered:
        return (
            f"{payment.key}: the provider has no record of the {' and the '.join(unanswered)}; the payment stays"
            f" {payment.state}. A request may still be in transit: look it up again before you mark a step as refused."
        )
    return f"{payment.key}: the payment is {payment.state}. Retry the waiting step: it gets this answer."


def _capture_or_release(key: str) -> Payment:
    """Capture a held payment, or release it if the capture is or was declined."""
    try:
        return capture(key=key, provider_key=f"{key}:capture")
    except (PaymentDeclined, PaymentStateConflict):
        declined = _find_declined_capture(key)
        if declined is None:
            _require_not_voided(intents.read(key))
            raise
        void(key=key, provider_key=f"{key}:void")
        return _answer(declined)


def _find_declined_capture(key: str) -> PaymentOperation | None:
    payment = intents.find(key)
    known = intents.find_operation(payment, kind=OperationKind.CAPTURE) if payment is not None else None
    return known if known is not None and known.state == OperationState.DECLINED else None


def _ask(operation: PaymentOperation, call: Callable[[Gateway], Answer]) -> Answer:
    """Call the gateway; if the call certainly did nothing, record that before raising."""
    try:
        return call(get_gateway())
    except (GatewayUnavailable, GatewayMisconfigured, GatewayConflict, GatewayKeyClosed):
        intents.withdraw(operation)
        raise


def _answer(operation: PaymentOperation) -> Payment:
    """Return or raise the stored answer, which is the provider's first."""
    if operation.state == OperationState.DECLINED:
        raise PaymentDeclined(code=operation.code, key=operation.payment.key)
    return operation.payment


def _require_not_voided(payment: Payment) -> None:
    if payment.state in _VOID_STATES:
        raise _fence(payment.key)


def _fence(key: str) -> Fenced:
    return Fenced(f"Payment {key} was voided before; no money is held. The saga is compensating, no action is needed.")


def _require_state(payment: Payment, kind: OperationKind, advice: str) -> None:
    if PaymentState(payment.state) not in MOVES_ON_ASKING[kind]:
        raise PaymentStateConflict(asked=kind.value, key=payment.key, state=payment.state, advice=advice)


def _settle_capture(key: str) -> None:
    """Look up an unanswered capture: an operator may have marked its step as succeeded without this app's knowledge."""
    if intents.read(key).state == PaymentState.CAPTURING:
        reconcile(key=key)


def _choose_refund(payment: Payment, amount_minor: int | None) -> int:
    """Return the amount to refund: the requested one, or all that no other refund gave or may give."""
    left_minor = payment.amount_minor - intents.sum_refunds(payment)
    _require_state(payment, OperationKind.REFUND, "Only captured money can be refunded.")
    if left_minor < (amount_minor or 1):
        raise PaymentStateConflict(
            asked=OperationKind.REFUND.value,
            key=payment.key,
            state=payment.state,
            advice=f"Only {left_minor} of {payment.amount_minor} minor units are left to refund; ask for no more.",
        )
    return amount_minor or left_minor


def _contradict(kind: OperationKind, payment: Payment, error: GatewayConflict) -> PaymentStateConflict:
    """Reconcile a payment that the provider refused to change, and return the conflict with its current state."""
    current = reconcile(key=payment.key)
    return PaymentStateConflict(asked=kind.value, key=payment.key, state=current.state, advice=str(error))
