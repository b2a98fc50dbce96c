"""Read-only admin of payments and of the sandbox provider's ledger.

The only actions are to look up a payment at the provider and to clear a failure of the sandbox.
"""

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from sagas.admin.ui.addresses import find_saga_url
from sagas.operators.queries.search import read_step_key

from .exceptions import PaymentsError
from .gateways.sandbox import clear_failure
from .models import OrderPayment, Payment, PaymentOperation, SandboxAuthorization, SandboxOperation
from .services import describe_look_up, reconcile

MOST_LOOKED_UP = 20  # each is a call to the provider while the user waits


class ReadOnly:
    """Admin mixin that refuses to add, change and delete; the view permission allows viewing."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class PaymentOperationInline(ReadOnly, admin.TabularInline):
    model = PaymentOperation
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


@admin.register(Payment)
class PaymentAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("key", "order_number", "money", "payment_method", "state", "created_at", "changed_at", "saga_page")
    list_filter = ("state",)
    search_fields = ("key__startswith", "order_number__startswith", "authorization_reference__startswith")
    search_help_text = "Beginning of an order number, of a step key, or of the provider's reference"
    ordering = ("-created_at",)
    fields = (
        "key",
        "saga",
        "order_number",
        "money",
        "refunded_money",
        "payment_method",
        "state",
        "authorization_reference",
        "created_at",
        "changed_at",
    )
    readonly_fields = fields
    inlines = (PaymentOperationInline,)
    actions = ("look_up",)
    show_full_result_count = False

    def has_look_up_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.look_up_payment")

    @admin.action(description="Look up at the provider", permissions=("look_up",))
    def look_up(self, request: HttpRequest, queryset: QuerySet[Payment]) -> None:
        # Evaluated once: a look-up may change a payment so that it leaves the list's filter.
        chosen = list(queryset[: MOST_LOOKED_UP + 1])
        for payment in chosen[:MOST_LOOKED_UP]:
            try:
                found = reconcile(key=payment.key)
            except PaymentsError as error:
                self.message_user(request, f"{payment.key}: {error} Nothing was changed.", messages.ERROR)
                continue
            self.log_change(request, found, f"Looked up at the provider: {found.get_state_display()}.")
            self.message_user(request, describe_look_up(found))
        if len(chosen) > MOST_LOOKED_UP:
            limit = (
                f"Only the first {MOST_LOOKED_UP} were looked up; each is a call to the provider. Repeat for the rest."
            )
            self.message_user(request, limit, messages.WARNING)

    @admin.display(description="amount", ordering="amount_minor")
    def money(self, payment: Payment) -> str:
        return payment.amount

    @admin.display(description="refunded")
    def refunded_money(self, payment: Payment) -> str:
        return payment.refunded

    @admin.display(description="saga")
    def saga_page(self, payment: Payment) -> str:
        """Return a link to the saga's page, with a short word as its text."""
        return link_saga(payment.key, self.admin_site.name, "open")

    @admin.display(description="saga")
    def saga(self, payment: Payment) -> str:
        """Return a link to the saga's page, with its id as the text."""
        return link_saga(payment.key, self.admin_site.name)


def link_saga(step_key: str, site: str, words: str = "") -> str:
    """Return a link to the page of a step key's saga, with its id or these words as the text.

    Returns: a dash if the key belongs to no saga; the plain id if the admin site of this name does not show sagas.
    """
    saga_id = read_step_key(step_key)
    if saga_id is None:
        return "-"
    url = find_saga_url(site, saga_id)
    if not url:
        return str(saga_id)
    return format_html('<a href="{}" title="{}">{}</a>', url, saga_id, words or saga_id)


class SandboxOperationInline(ReadOnly, admin.TabularInline):
    model = SandboxOperation
    fields = ("kind", "outcome", "code", "key", "calls", "lost_answers", "created_at", "last_called_at")
    readonly_fields = fields
    extra = 0


@admin.register(SandboxAuthorization)
class SandboxAuthorizationAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("key", "order_number", "money", "payment_method", "state", "is_failing", "created_at", "changed_at")
    list_filter = ("state", "is_failing", "payment_method")
    search_fields = ("key__startswith", "order_number__startswith")
    search_help_text = "Beginning of an order number or of a step key"
    ordering = ("-created_at",)
    fields = (
        "key",
        "order_number",
        "money",
        "refunded_money",
        "payment_method",
        "state",
        "is_failing",
        "failure_cleared_at",
        "created_at",
        "changed_at",
    )
    readonly_fields = fields
    inlines = (SandboxOperationInline,)
    actions = ("clear_failures",)
    show_full_result_count = False

    @admin.display(description="amount", ordering="amount_minor")
    def money(self, authorization: SandboxAuthorization) -> str:
        return authorization.amount

    @admin.display(description="refunded")
    def refunded_money(self, authorization: SandboxAuthorization) -> str:
        return authorization.refunded

    def has_clear_failure_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.clear_failure")

    @admin.action(description="Clear failure", permissions=("clear_failure",))
    def clear_failures(self, request: HttpRequest, queryset: QuerySet[SandboxAuthorization]) -> None:
        failing = list(queryset.filter(is_failing=True))
        for authorization in failing:
            cleared = clear_failure(key=authorization.key)
            self.log_change(request, cleared, "Cleared the failure: voids and refunds work again.")
        self.message_user(
            request,
            f"Cleared {len(failing)} failing authorisations; retry the steps that waited for them."
            if failing
            else "None of the selected authorisations was failing; nothing was changed.",
            messages.SUCCESS if failing else messages.WARNING,
        )


@admin.register(SandboxOperation)
class SandboxOperationAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("key", "kind", "outcome", "code", "calls", "lost_answers", "created_at", "last_called_at")
    list_filter = ("kind", "outcome")
    search_fields = ("key__startswith",)
    search_help_text = "Beginning of a step key"
    ordering = ("-created_at",)
    show_full_result_count = False


@admin.register(OrderPayment)
class OrderPaymentAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ("order_number", "state", "is_cancelled", "key", "created_at", "changed_at")
    list_filter = ("state",)
    search_fields = ("order_number__startswith",)
    search_help_text = "Beginning of an order number"
    ordering = ("-created_at",)
    readonly_fields = ("created_at", "changed_at")
    show_full_result_count = False
