"""Models of payments, of the operations requested from the provider for each, and of choreographed orders.

They change only through ``payments.services`` and ``payments.reactions``. The sandbox gateway's own ledger is in
``payments.gateways.ledger``.
"""

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from .gateways.base import Authorization
from .gateways.ledger import SandboxAuthorization, SandboxOperation
from .money import format_money
from .states import OperationKind, OperationState, PaymentState

__all__ = [
    "OrderPayment",
    "OrderPaymentState",
    "Payment",
    "PaymentOperation",
    "SandboxAuthorization",
    "SandboxOperation",
]

_VOID_STATES = (PaymentState.VOIDING, PaymentState.VOIDED)


class Payment(models.Model):
    """Payment, identified by the step key of its authorisation.

    A voiding or voided row without an order is a tombstone: the void came first, and a later authorise is fenced.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=120, unique=True, help_text="Step key of the authorisation.")
    order_number = models.CharField(max_length=64, blank=True, db_index=True, help_text="Empty on a tombstone.")
    amount_minor = models.PositiveBigIntegerField(default=0, help_text="In the currency's smallest unit.")
    refunded_minor = models.PositiveBigIntegerField(default=0, help_text="In the currency's smallest unit.")
    currency = models.CharField(max_length=3, blank=True)
    payment_method = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=16, choices=PaymentState, default=PaymentState.AUTHORIZING)
    authorization_reference = models.CharField(
        max_length=255, blank=True, db_index=True, help_text="The provider's reference."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at",)
        permissions = (("look_up_payment", "Can look up at the provider what became of a payment"),)
        constraints = (
            models.CheckConstraint(condition=~Q(key=""), name="payments_payment_has_key"),
            models.CheckConstraint(condition=Q(state__in=PaymentState.values), name="payments_payment_state_known"),
            models.CheckConstraint(
                condition=Q(amount_minor__gt=0, currency__regex=r"^[A-Z]{3}$") & ~Q(order_number="")
                | Q(state__in=_VOID_STATES, amount_minor=0, currency="", order_number=""),
                name="payments_payment_complete_or_tombstone",
            ),
            models.CheckConstraint(
                condition=Q(refunded_minor__gte=0, refunded_minor__lte=F("amount_minor")),
                name="payments_payment_refund_at_most_amount",
            ),
            models.CheckConstraint(
                condition=Q(state=PaymentState.REFUNDED, refunded_minor=F("amount_minor"))
                | Q(state=PaymentState.CAPTURED, refunded_minor__lt=F("amount_minor"))
                | ~Q(state__in=(PaymentState.REFUNDED, PaymentState.CAPTURED)) & Q(refunded_minor=0),
                name="payments_payment_refunded_only_after_capture",
            ),
        )

    def __str__(self) -> str:
        return self.key

    @property
    def is_tombstone(self) -> bool:
        """Whether the void came before any authorise."""
        return self.state in _VOID_STATES and self.order_number == ""

    @property
    def amount(self) -> str:
        """Formatted amount."""
        return format_money(self.amount_minor, self.currency)

    @property
    def refunded(self) -> str:
        """Formatted refunded amount."""
        return format_money(self.refunded_minor, self.currency)

    @property
    def authorization(self) -> Authorization:
        """Authorisation in the form that gateways take."""
        return Authorization(
            key=self.key,
            order_number=self.order_number,
            amount_minor=self.amount_minor,
            currency=self.currency,
            payment_method=self.payment_method,
            reference=self.authorization_reference,
        )


class PaymentOperation(models.Model):
    """Operation requested from the provider under one key: the intent before the call, the answer after it."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="operations")
    kind = models.CharField(max_length=16, choices=OperationKind)
    provider_key = models.CharField(max_length=200, unique=True, help_text="Idempotency key sent to the provider.")
    amount_minor = models.PositiveBigIntegerField(default=0, help_text="In the currency's smallest unit.")
    state = models.CharField(max_length=16, choices=OperationState, default=OperationState.OPEN)
    code = models.CharField(max_length=64, blank=True, help_text="Why it was declined.")
    reference = models.CharField(max_length=255, blank=True, help_text="The provider's reference.")
    calls = models.PositiveIntegerField(default=0, help_text="Number of calls to the provider.")
    unanswered = models.PositiveIntegerField(default=0, help_text="Calls that may have taken effect.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("created_at", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("payment", "kind"),
                condition=Q(kind__in=(OperationKind.AUTHORIZE, OperationKind.CAPTURE)),
                name="payments_operation_one_authorize_one_capture",
            ),
            models.CheckConstraint(condition=~Q(provider_key=""), name="payments_operation_has_key"),
            models.CheckConstraint(condition=Q(kind__in=OperationKind.values), name="payments_operation_kind_known"),
            models.CheckConstraint(
                condition=Q(unanswered__lte=F("calls")), name="payments_operation_unanswered_at_most_calls"
            ),
            models.CheckConstraint(
                condition=Q(state=OperationState.OPEN, finished_at=None, code="")
                | Q(state=OperationState.SUCCEEDED, finished_at__isnull=False, code="")
                | Q(state=OperationState.DECLINED, finished_at__isnull=False) & ~Q(code=""),
                name="payments_operation_state_matches_answer",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.provider_key}"


class OrderPaymentState(models.TextChoices):
    """Where the payment of one choreographed order stands; without a row, nothing was heard of the order."""

    TOMBSTONE = "tombstone", "Cancelled before it was placed"
    CHARGING = "charging", "Charging"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    REFUNDING = "refunding", "Refunding"
    REFUNDED = "refunded", "Refunded"


class OrderPayment(models.Model):
    """Payment of one choreographed order, moved by events and by the ends of its charge and its refund."""

    order_number = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=16, choices=OrderPaymentState)
    is_cancelled = models.BooleanField(default=False, help_text="Whether the order was cancelled during the charge.")
    key = models.CharField(max_length=120, blank=True, help_text="Key of the charge, which the payment has, too.")
    amount_minor = models.PositiveBigIntegerField(default=0, help_text="In the currency's smallest unit.")
    currency = models.CharField(max_length=3, blank=True)
    payment_method = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=OrderPaymentState.values), name="payments_order_payment_state_known"
            ),
            models.CheckConstraint(
                condition=~Q(order_number="")
                & (
                    Q(state__in=(OrderPaymentState.TOMBSTONE, OrderPaymentState.FAILED))
                    | Q(amount_minor__gt=0) & ~Q(key="")
                ),
                name="payments_order_payment_knows_its_charge",
            ),
            models.CheckConstraint(
                condition=Q(is_cancelled=False) | ~Q(state=OrderPaymentState.COMPLETED),
                name="payments_order_payment_cancelled_is_not_kept",
            ),
        )

    def __str__(self) -> str:
        return self.order_number
