"""States of payments and their transitions. Tables only, no rows."""

from collections.abc import Mapping

from django.db.models import TextChoices


class PaymentState(TextChoices):
    """State of a payment; names that end in -ing mean: requested, not yet answered."""

    AUTHORIZING = "authorizing", "Authorizing"
    """The provider was or is about to be asked; the money may be held."""
    UNREACHED = "unreached", "Gateway not reached"
    """No call reached the provider; certainly nothing is held."""
    AUTHORIZED = "authorized", "Authorized"
    """The money is held."""
    DECLINED = "declined", "Declined"
    """The provider declined. Final."""
    CAPTURING = "capturing", "Capturing"
    """The provider was or is about to be asked to capture; it may have done so."""
    CAPTURED = "captured", "Captured"
    """The money is captured."""
    VOIDING = "voiding", "Voiding"
    """A void was requested; a later authorise or capture is refused."""
    VOIDED = "voided", "Voided"
    """Nothing is held, now or later, under this key. Final."""
    REFUNDED = "refunded", "Refunded"
    """All of the captured money was refunded. Final."""


class OperationKind(TextChoices):
    """Kind of request to the provider."""

    AUTHORIZE = "authorize", "Authorize"
    CAPTURE = "capture", "Capture"
    VOID = "void", "Void"
    REFUND = "refund", "Refund"


class OperationState(TextChoices):
    """Result of a request; succeeded and declined are definite and never change."""

    OPEN = "open", "No answer yet"
    SUCCEEDED = "succeeded", "Succeeded"
    DECLINED = "declined", "Declined"


Moves = Mapping[PaymentState, PaymentState]

# A state that is not in a table forbids the operation (on asking) or stays unchanged (on an answer).
MOVES_ON_ASKING: Mapping[OperationKind, Moves] = {
    OperationKind.AUTHORIZE: {
        PaymentState.AUTHORIZING: PaymentState.AUTHORIZING,
        PaymentState.UNREACHED: PaymentState.AUTHORIZING,
    },
    OperationKind.CAPTURE: {
        PaymentState.AUTHORIZED: PaymentState.CAPTURING,
        PaymentState.CAPTURING: PaymentState.CAPTURING,
    },
    OperationKind.VOID: {
        PaymentState.AUTHORIZING: PaymentState.VOIDING,
        PaymentState.UNREACHED: PaymentState.VOIDING,
        PaymentState.AUTHORIZED: PaymentState.VOIDING,
        # An operator may decide that an unanswered capture did not happen; the provider's answer is decisive.
        PaymentState.CAPTURING: PaymentState.VOIDING,
        PaymentState.VOIDING: PaymentState.VOIDING,
        PaymentState.VOIDED: PaymentState.VOIDED,
    },
    OperationKind.REFUND: {PaymentState.CAPTURED: PaymentState.CAPTURED},
}

MOVES_ON_SUCCESS: Mapping[OperationKind, Moves] = {
    OperationKind.AUTHORIZE: {
        PaymentState.AUTHORIZING: PaymentState.AUTHORIZED,
        PaymentState.UNREACHED: PaymentState.AUTHORIZED,
    },
    OperationKind.CAPTURE: {
        PaymentState.AUTHORIZED: PaymentState.CAPTURED,
        PaymentState.CAPTURING: PaymentState.CAPTURED,
        # If the provider captured despite a void, the money is captured and can be refunded.
        PaymentState.VOIDING: PaymentState.CAPTURED,
        PaymentState.VOIDED: PaymentState.CAPTURED,
    },
    OperationKind.VOID: {PaymentState.VOIDING: PaymentState.VOIDED},
    OperationKind.REFUND: {},
}

MOVES_ON_DECLINE: Mapping[OperationKind, Moves] = {
    OperationKind.AUTHORIZE: {
        PaymentState.AUTHORIZING: PaymentState.DECLINED,
        PaymentState.UNREACHED: PaymentState.DECLINED,
    },
    OperationKind.CAPTURE: {PaymentState.CAPTURING: PaymentState.AUTHORIZED},
    OperationKind.VOID: {},
    OperationKind.REFUND: {},
}

# If every call of an operation certainly did nothing, its -ing state would be wrong.
MOVES_ON_WITHDRAWAL: Mapping[OperationKind, Moves] = {
    OperationKind.AUTHORIZE: {PaymentState.AUTHORIZING: PaymentState.UNREACHED},
    OperationKind.CAPTURE: {PaymentState.CAPTURING: PaymentState.AUTHORIZED},
    OperationKind.VOID: {},
    OperationKind.REFUND: {},
}
