"""Models of the inventory: stock per SKU, reservations by step key, and choreographed orders.

Quantities change only through ``inventory.services``, orders only by ``inventory.reactions``. The CHECKs refuse
invalid rows from any writer.
"""

import uuid
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class StockItem(models.Model):
    """Stock of one SKU: units on hand, reserved and shipped."""

    sku = models.CharField("SKU", max_length=64, unique=True)
    on_hand = models.PositiveBigIntegerField(default=0, help_text="Units that can be reserved.")
    reserved = models.PositiveBigIntegerField(default=0, help_text="Units promised to orders.")
    shipped = models.PositiveBigIntegerField(default=0, help_text="Units that were shipped.")
    received = models.PositiveBigIntegerField(help_text="Units ever received: on hand + reserved + shipped.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("sku",)
        constraints = (
            models.CheckConstraint(condition=Q(on_hand__gte=0), name="inventory_stock_on_hand_not_negative"),
            models.CheckConstraint(condition=Q(reserved__gte=0), name="inventory_stock_reserved_not_negative"),
            models.CheckConstraint(condition=Q(shipped__gte=0), name="inventory_stock_shipped_not_negative"),
            models.CheckConstraint(
                condition=Q(received=F("on_hand") + F("reserved") + F("shipped")),
                name="inventory_stock_nothing_lost",
            ),
        )

    def __str__(self) -> str:
        return self.sku

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the item; without a value, ``received`` is the sum of its quantities."""
        if self.received is None:
            self.received = self.on_hand + self.reserved + self.shipped
        super().save(*args, **kwargs)


class ReservationState(models.TextChoices):
    """State of a reservation; reserved becomes released or shipped, both are final."""

    RESERVED = "reserved", "Reserved"
    RELEASED = "released", "Released"
    SHIPPED = "shipped", "Shipped"


class Reservation(models.Model):
    """Reservation of stock for an order under one step key.

    A released row without lines and order is a tombstone: the release came first, and a later reserve is fenced.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=120, unique=True, help_text="Step key of the reservation.")
    order_number = models.CharField(max_length=64, blank=True, db_index=True, help_text="Empty on a tombstone.")
    state = models.CharField(max_length=16, choices=ReservationState, default=ReservationState.RESERVED)
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    released_at = models.DateTimeField(null=True, blank=True)
    shipped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(condition=~Q(key=""), name="inventory_reservation_has_key"),
            models.CheckConstraint(
                condition=(
                    Q(state=ReservationState.RESERVED, released_at=None, shipped_at=None)
                    | Q(state=ReservationState.RELEASED, released_at__isnull=False, shipped_at=None)
                    | Q(state=ReservationState.SHIPPED, released_at=None, shipped_at__isnull=False)
                ),
                name="inventory_reservation_state_matches_times",
            ),
            models.CheckConstraint(
                condition=~Q(order_number="") | Q(state=ReservationState.RELEASED),
                name="inventory_reservation_has_order_or_is_tombstone",
            ),
        )

    def __str__(self) -> str:
        return self.key

    @property
    def is_tombstone(self) -> bool:
        """Whether the release came before any reserve."""
        return self.state == ReservationState.RELEASED and self.order_number == ""


class ReservationLine(models.Model):
    """Reserved quantity of one SKU, which is referenced by value."""

    reservation = models.ForeignKey(Reservation, on_delete=models.PROTECT, related_name="lines")
    sku = models.CharField("SKU", max_length=64)
    quantity = models.PositiveBigIntegerField()

    class Meta:
        ordering = ("sku",)
        constraints = (
            models.UniqueConstraint(fields=("reservation", "sku"), name="inventory_line_one_per_sku"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="inventory_line_quantity_positive"),
        )

    def __str__(self) -> str:
        return f"{self.quantity} x {self.sku}"


class OrderStockState(models.TextChoices):
    """Where the stock of one choreographed order stands; without a row, nothing was heard of the order."""

    KNOWN = "known", "Known"
    TOMBSTONE = "tombstone", "Cancelled before it was paid"
    RESERVED = "reserved", "Reserved"
    FAILED = "failed", "Failed"
    RELEASED = "released", "Released"
    PERMANENT = "permanent", "Shipped"


class OrderStock(models.Model):
    """Stock of one choreographed order, moved by events; its reservation has the order's number as its key."""

    order_number = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=16, choices=OrderStockState)
    lines = models.JSONField(default=list, blank=True, help_text="SKUs and quantities, as the order was placed.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=OrderStockState.values), name="inventory_order_stock_state_known"
            ),
            models.CheckConstraint(
                condition=~Q(order_number="")
                & (Q(state__in=(OrderStockState.TOMBSTONE, OrderStockState.FAILED)) | ~Q(lines=[])),
                name="inventory_order_stock_knows_its_lines",
            ),
        )

    def __str__(self) -> str:
        return self.order_number
