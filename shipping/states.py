"""Where a shipment can stand and how it gets from there to somewhere else. Tables only, no rows."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import TextChoices


class ShipmentState(TextChoices):
    """Where a shipment stands; the words that end in -ing mean: asked, not yet answered."""

    BOOKING = "booking", "Booking"
    """The carrier was or is about to be asked; it may be booked."""
    UNREACHED = "unreached", "Carrier not reached"
    """No call got through; certainly nothing is booked."""
    BOOKED = "booked", "Booked"
    """The carrier will come."""
    REFUSED = "refused", "Refused"
    """The carrier said no. Final."""
    CANCELLING = "cancelling", "Cancelling"
    """Someone decided that nothing shall be shipped; a later booking is refused."""
    CANCELLED = "cancelled", "Cancelled"
    """Nothing is booked and nothing ever will be under this key. Final."""


class OperationKind(TextChoices):
    """What the carrier is asked to do."""

    BOOK = "book", "Book"
    CANCEL = "cancel", "Cancel"


class OperationState(TextChoices):
    """What came of asking; succeeded and refused are definite and never change."""

    OPEN = "open", "No answer yet"
    SUCCEEDED = "succeeded", "Succeeded"
    REFUSED = "refused", "Refused"


Moves = Mapping[ShipmentState, ShipmentState]

# A state that a table does not name stays as it is.
MOVES_ON_ASKING: Mapping[OperationKind, Moves] = {
    OperationKind.BOOK: {ShipmentState.UNREACHED: ShipmentState.BOOKING},
    OperationKind.CANCEL: {
        ShipmentState.BOOKING: ShipmentState.CANCELLING,
        ShipmentState.UNREACHED: ShipmentState.CANCELLING,
        ShipmentState.BOOKED: ShipmentState.CANCELLING,
    },
}

MOVES_ON_SUCCESS: Mapping[OperationKind, Moves] = {
    OperationKind.BOOK: {
        ShipmentState.BOOKING: ShipmentState.BOOKED,
        ShipmentState.UNREACHED: ShipmentState.BOOKED,
    },
    OperationKind.CANCEL: {ShipmentState.CANCELLING: ShipmentState.CANCELLED},
}

MOVES_ON_REFUSAL: Mapping[OperationKind, Moves] = {
    OperationKind.BOOK: {
        ShipmentState.BOOKING: ShipmentState.REFUSED,
        ShipmentState.UNREACHED: ShipmentState.REFUSED,
    },
    OperationKind.CANCEL: {},
}

# When every call of an operation certainly did nothing, its -ing word would be a lie.
MOVES_ON_WITHDRAWAL: Mapping[OperationKind, Moves] = {
    OperationKind.BOOK: {ShipmentState.BOOKING: ShipmentState.UNREACHED},
    OperationKind.CANCEL: {},
}
