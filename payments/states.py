"""Where a payment can stand and how it gets from there to somewhere else. Tables only, no rows."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import TextChoices


class PaymentState(TextChoices):
    """Where a payment stands; the words that end in -ing mean: asked, not yet answered."""

    AUTHORIZING = "authorizing", "Authorizing"
    """The provider was or is about to be asked; the money may be held."""
    UNREACHED = "unreached", "Gateway not reached"
    """No call got through; certainly nothing is held."""
    AUTHORIZED = "authorized", "Authorized"
    """The money is held."""
    DECLINED = "declined", "Declined"
    """The provider said no. Final."""
    CAPTURING = "capturing", "Capturing"
    """The provider was or is about to be asked to take the money; it may have."""
    CAPTURED = "captured", "Captured"
    """The money is taken."""
    VOIDING = "voiding", "Voiding"
    """Someone decided that nothing shall be held; a later authorise or capture is refused."""
    VOIDED = "voided", "Voided"
    """Nothing is held and nothing ever will be under this key. Final."""
    REFUNDED = "refunded", "Refunded"
    """All of the captured money was given back. Final."""


class OperationKind(TextChoices):
    """What the provider is asked to do."""

    AUTHORIZE = "authorize", "Authorize"
    CAPTURE = "capture", "Capture"
    VOID = "void", "Void"
    REFUND = "refund", "Refund"


class OperationState(TextChoices):
    """What came of asking; succeeded and declined are definite and never change."""

    OPEN = "open", "No answer yet"
    SUCCEEDED = "succeeded", "Succeeded"
    DECLINED = "declined", "Declined"


Moves = Mapping[PaymentState, PaymentState]

# A state that a table does not name forbids the operation (on asking) or stays as it is (on an answer).
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
        # A person may decide that a capture without an answer did not happen; the provider has the last word.
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
        # Should the provider say so in spite of a void, then it is so: the money is taken and can be refunded.
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

# When every call of an operation certainly did nothing, its -ing word would be a lie.
MOVES_ON_WITHDRAWAL: Mapping[OperationKind, Moves] = {
    OperationKind.AUTHORIZE: {PaymentState.AUTHORIZING: PaymentState.UNREACHED},
    OperationKind.CAPTURE: {PaymentState.CAPTURING: PaymentState.AUTHORIZED},
    OperationKind.VOID: {},
    OperationKind.REFUND: {},
}
