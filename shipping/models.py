"""Models of shipments, of the operations requested from the carrier for each, and of choreographed orders.

They change only through ``shipping.services`` and ``shipping.reactions``. The sandbox carrier's own ledger is in
``shipping.carriers.ledger``.
"""

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from .carriers.base import Address
from .carriers.ledger import SandboxBooking, SandboxRequest
from .states import OperationKind, OperationState, ShipmentState

__all__ = ["OrderShipment", "OrderShipmentState", "SandboxBooking", "SandboxRequest", "Shipment", "ShipmentOperation"]

_CANCEL_STATES = (ShipmentState.CANCELLING, ShipmentState.CANCELLED)


class Shipment(models.Model):
    """Shipment, identified by the step key of its booking.

    A cancelling or cancelled row without an order is a tombstone: the cancel came first, and a later book is fenced.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=120, unique=True, help_text="Step key of the booking.")
    order_number = models.CharField(max_length=64, blank=True, db_index=True, help_text="Empty on a tombstone.")
    state = models.CharField(max_length=16, choices=ShipmentState, default=ShipmentState.BOOKING)
    name = models.CharField(max_length=200, blank=True)
    line1 = models.CharField(max_length=200, blank=True)
    line2 = models.CharField(max_length=200, blank=True)
    city = models.CharField(max_length=200, blank=True)
    postal_code = models.CharField(max_length=32, blank=True)
    country = models.CharField(max_length=2, blank=True, help_text="ISO 3166-1 alpha-2.")
    carrier_reference = models.CharField(max_length=255, blank=True, help_text="The carrier's reference.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(condition=~Q(key=""), name="shipping_shipment_has_key"),
            models.CheckConstraint(condition=Q(state__in=ShipmentState.values), name="shipping_shipment_state_known"),
            models.CheckConstraint(
                condition=~Q(order_number="") & ~Q(name="") & ~Q(line1="") & Q(country__regex=r"^[A-Z]{2}$")
                | Q(state__in=_CANCEL_STATES, order_number="", name="", line1="", country=""),
                name="shipping_shipment_complete_or_tombstone",
            ),
            models.CheckConstraint(
                condition=~Q(state=ShipmentState.BOOKED) | ~Q(carrier_reference=""),
                name="shipping_shipment_booked_has_reference",
            ),
        )

    def __str__(self) -> str:
        return self.key

    @property
    def is_tombstone(self) -> bool:
        """Whether the cancel came before any book."""
        return self.state in _CANCEL_STATES and self.order_number == ""

    @property
    def address(self) -> Address | None:
        """Delivery address; None on a tombstone."""
        if self.is_tombstone:
            return None
        return Address(
            name=self.name,
            line1=self.line1,
            line2=self.line2,
            city=self.city,
            postal_code=self.postal_code,
            country=self.country,
        )


class ShipmentOperation(models.Model):
    """Operation requested from the carrier under one key: the intent before the call, the answer after it."""

    shipment = models.ForeignKey(Shipment, on_delete=models.PROTECT, related_name="operations")
    kind = models.CharField(max_length=16, choices=OperationKind)
    provider_key = models.CharField(max_length=200, unique=True, help_text="Idempotency key sent to the carrier.")
    state = models.CharField(max_length=16, choices=OperationState, default=OperationState.OPEN)
    code = models.CharField(max_length=64, blank=True, help_text="Why it was refused.")
    reference = models.CharField(max_length=255, blank=True, help_text="The carrier's reference.")
    calls = models.PositiveIntegerField(default=0, help_text="Number of calls to the carrier.")
    unanswered = models.PositiveIntegerField(default=0, help_text="Calls that may have taken effect.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("created_at", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("shipment",),
                condition=Q(kind=OperationKind.BOOK),
                name="shipping_operation_one_booking",
            ),
            models.CheckConstraint(condition=~Q(provider_key=""), name="shipping_operation_has_key"),
            models.CheckConstraint(condition=Q(kind__in=OperationKind.values), name="shipping_operation_kind_known"),
            models.CheckConstraint(
                condition=Q(unanswered__lte=F("calls")), name="shipping_operation_unanswered_at_most_calls"
            ),
            models.CheckConstraint(
                condition=Q(state=OperationState.OPEN, finished_at=None, code="")
                | Q(state=OperationState.SUCCEEDED, finished_at__isnull=False, code="")
                | Q(state=OperationState.REFUSED, finished_at__isnull=False) & ~Q(code=""),
                name="shipping_operation_state_matches_answer",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.provider_key}"


class OrderShipmentState(models.TextChoices):
    """Where the shipment of one choreographed order stands; without a row, nothing was heard of the order."""

    KNOWN = "known", "Known"
    TOMBSTONE = "tombstone", "Cancelled before it was quoted"
    QUOTING = "quoting", "Quoting"
    QUOTED = "quoted", "Quoted"
    REFUSED = "refused", "Refused"
    BOOKING = "booking", "Booking"
    BOOKED = "booked", "Booked"
    CANCELLED = "cancelled", "Cancelled"


class OrderShipment(models.Model):
    """Shipment of one choreographed order, moved by events and by the ends of its quote and its booking."""

    order_number = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=16, choices=OrderShipmentState)
    is_cancelled = models.BooleanField(default=False, help_text="Whether the order was cancelled during the quote.")
    address = models.JSONField(default=dict, blank=True, help_text="Delivery address, as the order was placed.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=OrderShipmentState.values), name="shipping_order_shipment_state_known"
            ),
            models.CheckConstraint(
                condition=~Q(order_number="")
                & (Q(state__in=(OrderShipmentState.TOMBSTONE, OrderShipmentState.REFUSED)) | ~Q(address={})),
                name="shipping_order_shipment_knows_its_address",
            ),
            models.CheckConstraint(
                condition=Q(is_cancelled=False) | Q(state__in=(OrderShipmentState.QUOTING, OrderShipmentState.REFUSED)),
                name="shipping_order_shipment_cancelled_is_not_booked",
            ),
        )

    def __str__(self) -> str:
        return self.order_number
