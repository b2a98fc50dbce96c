"""States of shipments and their transitions. Tables only, no rows."""

from collections.abc import Mapping

from django.db.models import TextChoices


class ShipmentState(TextChoices):
    """State of a shipment; names that end in -ing mean: requested, not yet answered."""

    BOOKING = "booking", "Booking"
    """The carrier was or is about to be asked; it may be booked."""
    UNREACHED = "unreached", "Carrier not reached"
    """No call reached the carrier; certainly nothing is booked."""
    BOOKED = "booked", "Booked"
    """The pick-up is booked."""
    REFUSED = "refused", "Refused"
    """The carrier refused. Final."""
    CANCELLING = "cancelling", "Cancelling"
    """A cancel was requested; a later booking is refused."""
    CANCELLED = "cancelled", "Cancelled"
    """Nothing is booked, now or later, under this key. Final."""


class OperationKind(TextChoices):
    """Kind of request to the carrier."""

    BOOK = "book", "Book"
    CANCEL = "cancel", "Cancel"


class OperationState(TextChoices):
    """Result of a request; succeeded and refused are definite and never change."""

    OPEN = "open", "No answer yet"
    SUCCEEDED = "succeeded", "Succeeded"
    REFUSED = "refused", "Refused"


Moves = Mapping[ShipmentState, ShipmentState]

# A state that is not in a table stays unchanged.
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

# If every call of an operation certainly did nothing, its -ing state would be wrong.
MOVES_ON_WITHDRAWAL: Mapping[OperationKind, Moves] = {
    OperationKind.BOOK: {ShipmentState.BOOKING: ShipmentState.UNREACHED},
    OperationKind.CANCEL: {},
}
