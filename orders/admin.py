"""Edit the catalogue, look at orders. What becomes of an order is its saga's business."""

from collections.abc import Iterator
from datetime import UTC

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html

from payments.money import format_money
from sagas.admin import links
from sagas.admin.links import Link
from sagas.admin.ui.addresses import find_saga_url
from sagas.models import Saga

from .models import Order, OrderFacts, OrderLine, Product


class ReadOnly:
    """A read-only admin for users with the view permission."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("sku", "name", "unit_price", "is_active", "updated_at")
    list_filter = ("is_active", "currency")
    search_fields = ("sku__startswith", "name__istartswith")
    search_help_text = "Beginning of a SKU or of a name"
    readonly_fields = ("created_at", "updated_at")

    @admin.display(description="unit price", ordering="unit_price_minor")
    def unit_price(self, product: Product) -> str:
        """Show the price in its currency."""
        return format_money(product.unit_price_minor, product.currency)

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> tuple[str, ...]:
        """Keep the SKU of an existing product: stock and orders know it by this value."""
        return (*self.readonly_fields, "sku") if obj else self.readonly_fields


class OrderLineInline(ReadOnly, admin.TabularInline):
    model = OrderLine
    extra = 0
    fields = ("position", "sku", "name", "quantity", "unit_price", "total")
    readonly_fields = ("unit_price", "total")

    @admin.display(description="unit price")
    def unit_price(self, line: OrderLine) -> str:
        """Show the price in the order's currency."""
        return format_money(line.unit_price_minor, line.order.currency)

    @admin.display(description="total")
    def total(self, line: OrderLine) -> str:
        """Show the price of all pieces in the order's currency."""
        return format_money(line.total_minor, line.order.currency)


class OrderFactsInline(ReadOnly, admin.StackedInline):
    model = OrderFacts
    verbose_name = "report of the participants"


@admin.register(Order)
class OrderAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("number", "owner", "outcome", "total", "created", "saga_page")
    list_filter = ("status", "reason", "coordination", "currency")
    list_select_related = ("owner",)
    search_fields = ("number__startswith", "owner__username__exact")
    search_help_text = "Beginning of an order number, or a user name"
    ordering = ("-id",)
    show_full_result_count = False
    inlines = (OrderLineInline, OrderFactsInline)
    fieldsets = (
        (None, {"fields": ("number", "owner", "status", "reason", "coordination", "saga", "created_at", "closed_at")}),
        ("Money", {"fields": ("total", "payment_method")}),
        (
            "Address",
            {
                "fields": (
                    "ship_to_name",
                    "ship_to_line1",
                    "ship_to_line2",
                    "ship_to_city",
                    "ship_to_postal_code",
                    "ship_to_country",
                )
            },
        ),
    )
    readonly_fields = ("saga", "total")

    @admin.display(description="created (UTC)", ordering="created_at")
    def created(self, order: Order) -> str:
        """Show when it was placed, without the zone, so that the list fits a laptop."""
        return f"{order.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="status", ordering="status")
    def outcome(self, order: Order) -> str:
        """Show the status and why, in words that can be wrapped."""
        return f"{order.status}: {order.reason.replace('_', ' ')}" if order.reason else order.status

    @admin.display(description="total", ordering="total_minor")
    def total(self, order: Order) -> str:
        """Show the total in its currency."""
        return format_money(order.total_minor, order.currency)

    @admin.display(description="saga")
    def saga_page(self, order: Order) -> str:
        """Link to the saga's page by a short word: its id would take a third of the list."""
        url = find_saga_url(self.admin_site.name, order.saga_id)
        return format_html('<a href="{}" title="{}">open</a>', url, order.saga_id) if url else "-"

    @admin.display(description="saga")
    def saga(self, order: Order) -> str:
        """Link to the saga's page; its plain id where this site does not show sagas."""
        url = find_saga_url(self.admin_site.name, order.saga_id)
        return format_html('<a href="{}">{}</a>', url, order.saga_id) if url else str(order.saga_id)


# Where a saga's page leads to, by the order number that the participants know, too.
LINKED_PAGES = {
    "Order": "orders_order",
    "Payment": "payments_payment",
    "Reservation": "inventory_reservation",
    "Shipment": "shipping_shipment",
}


def link_order(saga: Saga, number: str) -> Iterator[Link]:
    """Lead from a checkout to what it is about; each page is found by searching for the order number."""
    for label, page in LINKED_PAGES.items():
        yield Link(label=f"{label} {number}", page=f"{page}_changelist", query={"q": number})


links.register("order", link_order)
