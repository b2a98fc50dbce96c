"""Ledger of the sandbox gateway: the records that a provider would keep on its side.

Only ``payments.gateways.sandbox`` writes it. No foreign key leads to a payment: the provider knows the merchant's keys
and order numbers by value.
"""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from payments.money import format_money
from payments.states import OperationKind


class LedgerState(models.TextChoices):
    """State of an authorisation at the provider; captured money may be refunded, other states but held are final."""

    HELD = "held", "Held"
    DECLINED = "declined", "Declined"
    VOIDED = "voided", "Voided"
    CLOSED = "closed", "Closed before use"
    CAPTURED = "captured", "Captured"


class LedgerOutcome(models.TextChoices):
    """Provider's answer under an idempotency key, given again to every repeat."""

    SUCCEEDED = "succeeded", "Succeeded"
    DECLINED = "declined", "Declined"


class SandboxAuthorization(models.Model):
    """Authorisation in the sandbox provider's ledger, by its authorise key."""

    key = models.CharField(max_length=200, unique=True, help_text="Idempotency key of the authorise.")
    order_number = models.CharField(max_length=64, blank=True, db_index=True)
    amount_minor = models.PositiveBigIntegerField(default=0, help_text="In the currency's smallest unit.")
    refunded_minor = models.PositiveBigIntegerField(default=0, help_text="In the currency's smallest unit.")
    currency = models.CharField(max_length=3, blank=True)
    payment_method = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=16, choices=LedgerState)
    is_failing = models.BooleanField(default=False, help_text="Voids and refunds fail until the failure is cleared.")
    failure_cleared_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at",)
        permissions = (("clear_failure", "Can clear the failure of a sandbox authorization"),)
        constraints = (
            models.CheckConstraint(condition=Q(state__in=LedgerState.values), name="payments_ledger_state_known"),
            models.CheckConstraint(
                condition=Q(amount_minor__gt=0) | Q(state=LedgerState.CLOSED, amount_minor=0),
                name="payments_ledger_amount_or_closed",
            ),
            models.CheckConstraint(
                condition=Q(refunded_minor=0) | Q(state=LedgerState.CAPTURED, refunded_minor__lte=F("amount_minor")),
                name="payments_ledger_refund_at_most_captured",
            ),
        )

    def __str__(self) -> str:
        return self.key

    @property
    def amount(self) -> str:
        """Formatted amount."""
        return format_money(self.amount_minor, self.currency)

    @property
    def refunded(self) -> str:
        """Formatted refunded amount."""
        return format_money(self.refunded_minor, self.currency)


class SandboxOperation(models.Model):
    """First answer under one idempotency key."""

    authorization = models.ForeignKey(SandboxAuthorization, on_delete=models.PROTECT, related_name="operations")
    key = models.CharField(max_length=200, unique=True, help_text="Idempotency key of the request.")
    kind = models.CharField(max_length=16, choices=OperationKind)
    amount_minor = models.PositiveBigIntegerField(default=0, help_text="In the currency's smallest unit.")
    outcome = models.CharField(max_length=16, choices=LedgerOutcome)
    code = models.CharField(max_length=64, blank=True, help_text="Why it was declined.")
    calls = models.PositiveIntegerField(default=0, help_text="Number of calls.")
    lost_answers = models.PositiveIntegerField(default=0, help_text="Number of lost answers.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    last_called_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("created_at", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("authorization",),
                condition=Q(kind=OperationKind.CAPTURE, outcome=LedgerOutcome.SUCCEEDED),
                name="payments_ledger_captured_at_most_once",
            ),
            models.UniqueConstraint(
                fields=("authorization",),
                condition=Q(kind=OperationKind.AUTHORIZE),
                name="payments_ledger_authorized_at_most_once",
            ),
            models.CheckConstraint(
                condition=Q(lost_answers__lte=F("calls")), name="payments_ledger_lost_at_most_calls"
            ),
            models.CheckConstraint(
                condition=Q(outcome=LedgerOutcome.SUCCEEDED, code="") | Q(outcome=LedgerOutcome.DECLINED) & ~Q(code=""),
                name="payments_ledger_decline_has_code",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"

    @property
    def reference(self) -> str:
        """Provider's id of the operation."""
        return f"sandbox_{self.kind}_{self.pk}"
