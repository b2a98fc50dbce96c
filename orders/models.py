"""Rows of the shop: the catalogue, orders with their lines, remembered checkout requests, and throttle counters.

An order that is PENDING is the semantic lock of its saga: nothing but the saga ends it. The CHECKs forbid invalid
rows from every writer. Sagas and stock are known by value, never by foreign key.
"""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

MAX_QUANTITY = 100
MAX_LINES = 50
# 50 lines of 100 units at this price stay below 2**53, so no JSON reader bends the total.
MAX_PRICE_MINOR = 10**12
SKU = RegexValidator(r"\A[A-Z0-9][A-Z0-9-]{0,62}[A-Z0-9]\Z", "Upper-case letters, digits and hyphens, at least two.")
CURRENCY = RegexValidator(r"\A[A-Z]{3}\Z", "Three upper-case letters, as in ISO 4217.")


class Product(models.Model):
    """One SKU at one price."""

    sku = models.CharField("SKU", max_length=64, unique=True, validators=[SKU])
    name = models.CharField(max_length=200)
    unit_price_minor = models.PositiveBigIntegerField(
        help_text="Price of one unit, in the currency's smallest unit (cents).",
        validators=[MinValueValidator(1), MaxValueValidator(MAX_PRICE_MINOR)],
    )
    currency = models.CharField(max_length=3, default="EUR", validators=[CURRENCY])
    is_active = models.BooleanField(default=True, help_text="Whether it can be ordered.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("sku",)
        constraints = (
            models.CheckConstraint(
                condition=Q(unit_price_minor__gte=1, unit_price_minor__lte=MAX_PRICE_MINOR),
                name="orders_product_price_in_range",
            ),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="orders_product_currency_is_iso"),
        )

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"


class OrderStatus(models.TextChoices):
    """Where an order stands; pending becomes confirmed or cancelled, both are final."""

    PENDING = "pending", "Pending"
    CONFIRMED = "confirmed", "Confirmed"
    CANCELLED = "cancelled", "Cancelled"


class Coordination(models.TextChoices):
    """How the participants of a checkout work together."""

    ORCHESTRATION = "orchestration", "Orchestration"
    CHOREOGRAPHY = "choreography", "Choreography"


class Order(models.Model):
    """What one customer asked for, at the prices of that moment."""

    number = models.CharField(max_length=20, unique=True, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="orders")
    status = models.CharField(max_length=10, choices=OrderStatus, default=OrderStatus.PENDING)
    reason = models.CharField(max_length=40, blank=True, help_text="Why it was cancelled; a code of orders.reasons.")
    payment_method = models.CharField(max_length=64, help_text="The payment provider's reference, never card data.")
    total_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)
    ship_to_name = models.CharField(max_length=100)
    ship_to_line1 = models.CharField(max_length=200)
    ship_to_line2 = models.CharField(max_length=200, blank=True)
    ship_to_city = models.CharField(max_length=100)
    ship_to_postal_code = models.CharField(max_length=20)
    ship_to_country = models.CharField(max_length=2)
    coordination = models.CharField(max_length=13, choices=Coordination, default=Coordination.ORCHESTRATION)
    saga_id = models.UUIDField(unique=True, editable=False, help_text="Id of the checkout saga.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    closed_at = models.DateTimeField(null=True, blank=True, help_text="When it was confirmed or cancelled.")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=(
                    Q(status=OrderStatus.PENDING, reason="", closed_at=None)
                    | Q(status=OrderStatus.CONFIRMED, reason="", closed_at__isnull=False)
                    | (Q(status=OrderStatus.CANCELLED, closed_at__isnull=False) & ~Q(reason=""))
                ),
                name="orders_order_status_matches_end",
            ),
            models.CheckConstraint(condition=Q(total_minor__gte=1), name="orders_order_total_positive"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="orders_order_currency_is_iso"),
            models.CheckConstraint(
                condition=Q(ship_to_country__regex=r"^[A-Z]{2}$"), name="orders_order_country_is_iso"
            ),
        )
        indexes = (
            models.Index(fields=["owner", "-id"], name="orders_order_newest_of_owner"),
            models.Index(fields=["-created_at"], name="orders_order_newest"),
        )

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    """One product of an order as it was when it was ordered."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    position = models.PositiveSmallIntegerField()
    sku = models.CharField("SKU", max_length=64)
    name = models.CharField(max_length=200)
    unit_price_minor = models.PositiveBigIntegerField()
    quantity = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("order", "position")
        constraints = (
            models.UniqueConstraint(fields=("order", "position"), name="orders_line_position_once"),
            models.UniqueConstraint(fields=("order", "sku"), name="orders_line_one_per_sku"),
            models.CheckConstraint(
                condition=Q(quantity__gte=1, quantity__lte=MAX_QUANTITY), name="orders_line_quantity_in_range"
            ),
            models.CheckConstraint(
                condition=Q(unit_price_minor__gte=1, unit_price_minor__lte=MAX_PRICE_MINOR),
                name="orders_line_price_in_range",
            ),
        )

    def __str__(self) -> str:
        return f"{self.quantity} x {self.sku}"

    @property
    def total_minor(self) -> int:
        """Price of the whole line."""
        return self.unit_price_minor * self.quantity


class OrderFacts(models.Model):
    """What the participants of a choreographed order have reported, and when the orders learned it."""

    order = models.OneToOneField(Order, on_delete=models.CASCADE, related_name="facts", primary_key=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    reserved_at = models.DateTimeField(null=True, blank=True)
    quoted_at = models.DateTimeField(null=True, blank=True)
    refunded_at = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    booked_at = models.DateTimeField(null=True, blank=True)
    shipped_at = models.DateTimeField(null=True, blank=True)
    reminded_at = models.DateTimeField(null=True, blank=True, help_text="When the cancellation was published again.")

    class Meta:
        verbose_name_plural = "order facts"
        constraints = (
            models.CheckConstraint(
                condition=Q(booked_at=None, shipped_at=None)
                | Q(paid_at__isnull=False, reserved_at__isnull=False, quoted_at__isnull=False),
                name="orders_facts_confirmed_before_carried_out",
            ),
            models.CheckConstraint(
                condition=Q(reminded_at=None) | Q(paid_at__isnull=False) | Q(reserved_at__isnull=False),
                name="orders_facts_reminded_of_an_effect",
            ),
        )

    def __str__(self) -> str:
        return str(self.order_id)

    @property
    def is_complete(self) -> bool:
        """Whether everything that a confirmation needs was reported."""
        return None not in (self.paid_at, self.reserved_at, self.quoted_at)

    @property
    def has_effect(self) -> bool:
        """Whether an effect was reported, and not that it is undone."""
        return bool((self.paid_at and not self.refunded_at) or (self.reserved_at and not self.released_at))


class IdempotencyRecord(models.Model):
    """The answer to one checkout request, stored in the transaction of its order."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_digest = models.CharField(max_length=64, help_text="SHA-256 of the request's body.")
    order = models.OneToOneField(Order, on_delete=models.CASCADE, related_name="+")
    response_status = models.PositiveSmallIntegerField()
    # Text, because jsonb would not give back the members in the order of the first answer.
    response_body = models.TextField(help_text="The first answer, as JSON text.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(help_text="May be deleted after this time, once the saga is closed.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("user", "key"), name="orders_idempotency_key_once_per_user"),
            models.CheckConstraint(condition=~Q(key=""), name="orders_idempotency_has_key"),
        )
        indexes = (models.Index(fields=["expires_at", "id"], name="orders_idempotency_expired"),)

    def __str__(self) -> str:
        return self.key


class ThrottleBucket(models.Model):
    """Count how much of one allowance is used, as the one moment from which all of it is free again.

    A row whose moment has passed means the same as no row, so it may be deleted at any time.
    """

    key = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the scope and the subject.")
    free_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key
