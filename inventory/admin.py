"""Read-only admin of stock and reservations: quantities change through the services only."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from .models import OrderStock, Reservation, ReservationLine, StockItem


class ReadOnly:
    """Admin mixin that refuses to add, change and delete; the view permission allows viewing."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReservationLineInline(ReadOnly, admin.TabularInline):
    model = ReservationLine
    extra = 0


@admin.register(StockItem)
class StockItemAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("sku", "on_hand", "reserved", "shipped", "received")
    search_fields = ("sku__startswith",)
    show_full_result_count = False


@admin.register(Reservation)
class ReservationAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("key", "order_number", "state", "created_at", "released_at", "shipped_at")
    list_filter = ("state",)
    search_fields = ("key__startswith", "order_number__startswith")
    search_help_text = "Beginning of an order number or of a step key"
    ordering = ("-created_at",)
    inlines = (ReservationLineInline,)
    show_full_result_count = False


@admin.register(OrderStock)
class OrderStockAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("order_number", "state", "created_at", "changed_at")
    list_filter = ("state",)
    search_fields = ("order_number__startswith",)
    search_help_text = "Beginning of an order number"
    ordering = ("-created_at",)
    readonly_fields = ("created_at", "changed_at")
    show_full_result_count = False
