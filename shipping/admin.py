"""Read-only admin of shipments and of the sandbox carrier's ledger."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from .models import OrderShipment, SandboxBooking, SandboxRequest, Shipment, ShipmentOperation


class ReadOnly:
    """Admin mixin that refuses to add, change and delete; the view permission allows viewing."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ShipmentOperationInline(ReadOnly, admin.TabularInline):
    model = ShipmentOperation
    fields = (
        "kind",
        "state",
        "code",
        "provider_key",
        "reference",
        "calls",
        "unanswered",
        "created_at",
        "finished_at",
    )
    readonly_fields = fields
    extra = 0


@admin.register(Shipment)
class ShipmentAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("key", "order_number", "postal_code", "country", "state", "created_at", "changed_at")
    list_filter = ("state",)
    search_fields = ("key__startswith", "order_number__startswith")
    search_help_text = "Beginning of an order number or of a step key"
    ordering = ("-created_at",)
    readonly_fields = ("created_at", "changed_at")
    inlines = (ShipmentOperationInline,)
    show_full_result_count = False


class SandboxRequestInline(ReadOnly, admin.TabularInline):
    model = SandboxRequest
    fields = ("kind", "outcome", "code", "key", "calls", "lost_answers", "created_at", "last_called_at")
    readonly_fields = fields
    extra = 0


@admin.register(SandboxBooking)
class SandboxBookingAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("key", "order_number", "postal_code", "state", "created_at", "changed_at")
    list_filter = ("state",)
    search_fields = ("key__startswith", "order_number__startswith")
    search_help_text = "Beginning of an order number or of a step key"
    ordering = ("-created_at",)
    readonly_fields = ("created_at", "changed_at")
    inlines = (SandboxRequestInline,)
    show_full_result_count = False


@admin.register(OrderShipment)
class OrderShipmentAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("order_number", "state", "is_cancelled", "created_at", "changed_at")
    list_filter = ("state",)
    search_fields = ("order_number__startswith",)
    search_help_text = "Beginning of an order number"
    ordering = ("-created_at",)
    readonly_fields = ("created_at", "changed_at")
    show_full_result_count = False
