"""Admin of the access log: who saw which payloads."""

from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ...models import SagaAccess
from ...operators.actor import MAX_NAME_CHARS
from ..ui.addresses import find_saga_url
from ..ui.paging import CappedPaginator
from ..ui.view_only import ViewOnlyAdmin, engine_database, moment_column, text_column


@admin.register(SagaAccess)
class SagaAccessAdmin(ViewOnlyAdmin):
    """Admin of access records, newest first; a database trigger keeps them unchanged."""

    list_display = ("moment", "who", "what", "saga", "which")
    list_display_links = None
    moment = moment_column("at", "When")
    who, which = text_column("actor", "Actor"), text_column("detail", "Detail")
    fields = readonly_fields = ("moment", "who", "what", "saga", "which")
    ordering = ("-at", "-id")
    sortable_by = ()
    search_fields = ("actor",)  # shows the search field; get_search_results does the work
    search_help_text = "A saga id, or a whole user name"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[SagaAccess]:
        """Return the access records of the engine's database."""
        accesses: QuerySet[SagaAccess] = super().get_queryset(request)
        return accesses.using(engine_database())

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow none; there are no filters."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SagaAccess], search_term: str
    ) -> tuple[QuerySet[SagaAccess], bool]:
        """Search the access records of a saga or of a user."""
        wanted = search_term.strip().replace("\x00", "")
        if not wanted:
            return queryset, False
        try:
            return queryset.filter(saga_id=UUID(wanted)), False
        except ValueError:
            return queryset.filter(actor=wanted[:MAX_NAME_CHARS]), False

    @admin.display(description="Saga", empty_value="many")
    def saga(self, access: SagaAccess) -> SafeString | str | None:
        """Show a link to the saga, which may be deleted."""
        if access.saga_id is None:
            return None
        url = find_saga_url(self.admin_site.name, access.saga_id)
        if not url:
            return str(access.saga_id)
        return format_html('<a href="{}" data-open>{}</a>', url, access.saga_id)
