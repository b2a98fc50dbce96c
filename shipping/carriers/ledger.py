"""Ledger of the sandbox carrier: the records that a carrier would keep on its side.

Only ``shipping.carriers.sandbox`` writes it. No foreign key leads to a shipment: the carrier knows the shop's keys and
order numbers by value.
"""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from shipping.states import OperationKind


class BookingState(models.TextChoices):
    """State of a booking at the carrier."""

    BOOKED = "booked", "Booked"
    REFUSED = "refused", "Refused"
    CANCELLED = "cancelled", "Cancelled"
    CLOSED = "closed", "Closed before use"


class RequestOutcome(models.TextChoices):
    """Carrier's answer under an idempotency key, given again to every repeat."""

    SUCCEEDED = "succeeded", "Succeeded"
    REFUSED = "refused", "Refused"


class SandboxBooking(models.Model):
    """Booking in the sandbox carrier's ledger, by its booking key."""

    key = models.CharField(max_length=200, unique=True, help_text="Idempotency key of the booking.")
    order_number = models.CharField(max_length=64, blank=True, db_index=True)
    address = models.JSONField(default=dict, help_text="The address as it was sent; empty when closed before use.")
    postal_code = models.CharField(max_length=32, blank=True)
    state = models.CharField(max_length=16, choices=BookingState)
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(condition=Q(state__in=BookingState.values), name="shipping_ledger_state_known"),
            models.CheckConstraint(
                condition=~Q(order_number="") & ~Q(state=BookingState.CLOSED)
                | Q(order_number="", state=BookingState.CLOSED),
                name="shipping_ledger_order_or_closed",
            ),
        )

    def __str__(self) -> str:
        return self.key


class SandboxRequest(models.Model):
    """First answer under one idempotency key."""

    booking = models.ForeignKey(SandboxBooking, on_delete=models.PROTECT, related_name="requests")
    key = models.CharField(max_length=200, unique=True, help_text="Idempotency key of the request.")
    kind = models.CharField(max_length=16, choices=OperationKind)
    outcome = models.CharField(max_length=16, choices=RequestOutcome)
    code = models.CharField(max_length=64, blank=True, help_text="Why it was refused.")
    calls = models.PositiveIntegerField(default=0, help_text="Number of calls.")
    lost_answers = models.PositiveIntegerField(default=0, help_text="Number of lost answers.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    last_called_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("created_at", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("booking",), condition=Q(kind=OperationKind.BOOK), name="shipping_ledger_booked_at_most_once"
            ),
            models.CheckConstraint(
                condition=Q(lost_answers__lte=F("calls")), name="shipping_ledger_lost_at_most_calls"
            ),
            models.CheckConstraint(
                condition=Q(outcome=RequestOutcome.SUCCEEDED, code="")
                | Q(outcome=RequestOutcome.REFUSED) & ~Q(code=""),
                name="shipping_ledger_refusal_has_code",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"

    @property
    def reference(self) -> str:
        """Carrier's id of the request."""
        return f"sandbox_{self.kind}_{self.pk}"
