"""Admin of sagas: the list, the page of one saga, and its operations. Parses, calls one function, renders."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import clock
from ..models import Saga
from ..operators.actor import Actor
from ..operators.presentation.texts import set_apart
from ..operators.presentation.times import describe_moment
from ..operators.queries.search import HELP, MAX_KEYS, MAX_LOOKED_THROUGH, Search, search_sagas
from ..operators.visibility import find_visibility
from ..transactions import without_requests_transactions
from .bulks import bulk_choosing
from .events import event_urls
from .operations import note_page, operation_pages, remedy_pages
from .reports import overview_urls, refreshing
from .saga_list.filters import FILTERS, PARAMETERS
from .saga_list.group_rows import build_group_rows, list_groups
from .saga_list.neighbours import OpenedFrom
from .saga_list.rows import attach_rows, row_of, select_for_list
from .saga_page import payloads
from .saga_page.page_view import read_page
from .ui import saved_views
from .ui.addresses import find_saga_url, find_url, site_of
from .ui.base_filter import QueryRefused, read_choice, read_number
from .ui.console_admin import ConsoleAdmin
from .ui.frame import has_own_frame
from .ui.list_order import OrderFilter, PositionFilter, describe_position, find_order
from .ui.page_selection import Only, Tab
from .ui.paging import CappedPaginator, PagedList
from .ui.view_only import engine_database

ROWS_PER_PAGE = 50
ERROR = '<details class="saga-error"><summary data-keep="error">{}</summary></details>'


class SagaList(PagedList):
    """List of sagas that reads the rows of one page with what they show.

    Raises: IncorrectLookupParameters for an unknown filter value, an unreadable search and a page that does not exist.
    It never falls back to the unfiltered list.
    """

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Saga]:
        """Return the sagas that match the filters (by ``base_filter.narrow_list``) and the search."""
        if self.query != request.GET.get(SEARCH_VAR, ""):
            raise IncorrectLookupParameters("The search contains characters that are not text. Remove them.")
        text, self.query = self.query, ""
        try:
            self.unsearched: QuerySet[Saga] = super().get_queryset(request, *args, **kwargs)
        finally:
            self.query = text
        self.groups, self.has_own_rows = list_groups(request), has_own_frame()
        if self.groups:
            folded = [group.key for group in self.groups]
            self.unsearched = self.unsearched.exclude(closed_at=None, failing_group__in=folded)
        self.search = Search(self.unsearched.db, text) if text.strip() else None
        return self.search.narrow(self.unsearched) if self.search else self.unsearched

    def get_results(self, request: HttpRequest) -> None:
        """Read the page; a search for what very many keys begin with covers the newest sagas only, and says so."""
        whole, oldest = self.queryset, None
        if self.search:
            self.queryset, oldest = self.search.narrow_newest(self.unsearched)
        try:
            super().get_results(request)
        finally:
            self.queryset = whole
        self.searched_back = self._describe_reach(oldest) if oldest else None
        rows = select_for_list(self.result_list)
        may_see = find_visibility(Actor.of_user(request.user)).has_errors
        self.result_list = attach_rows(rows, with_errors=may_see)
        may_act = bool(bulk_choosing.list_operations(request))
        now = clock.shifted(datetime.now(UTC))  # the ages of a group need not be the database's to the millisecond
        is_first = self.page_num == 1 and PositionFilter.parameter_name not in request.GET
        self.group_rows = build_group_rows(
            self.groups if is_first else [], now, site_of(request), with_errors=may_see, may_act=may_act
        )
        self.has_own_order = find_order(request) is not None
        self.older_url = self._find_older_url(request)

    def _describe_reach(self, oldest: Saga) -> dict[str, Any]:
        """Return how far back a search went, and the URL that continues it; the URL is empty under another order."""
        place = {PositionFilter.parameter_name: describe_position(oldest)}
        url = "" if OrderFilter.parameter_name in self.params else self.get_query_string(place, remove=["p"])
        return {"keys": MAX_KEYS, "sagas": MAX_LOOKED_THROUGH, "at": describe_moment(oldest.created_at), "url": url}

    def _find_older_url(self, request: HttpRequest) -> str:
        """Return the URL that continues the list after the last counted page; empty on other pages."""
        is_last = self.page_num == self.paginator.num_pages
        if not (self.paginator.is_capped and is_last and self.result_list):
            return ""
        order = request.GET.get(OrderFilter.parameter_name, "")
        place = {PositionFilter.parameter_name: describe_position(self.result_list[-1], order)}
        return str(self.get_query_string(place, remove=["p"]))


@admin.register(Saga)
class SagaAdmin(ConsoleAdmin):
    """Admin of sagas. Subclass it to show more; ``get_links`` is meant to be overridden."""

    list_display = ("badge", "title", "step", "error", "attempts", "age", "next_due")
    list_display_links = ("title",)
    list_filter = FILTERS
    list_per_page = ROWS_PER_PAGE
    list_max_show_all = 0
    ordering = ("-created_at", "-id")
    sortable_by = ()
    search_fields = ("id",)  # shows the search field; search_sagas does the work
    search_help_text = HELP
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    change_list_template = "admin/sagas/saga/change_list.html"
    action_form = bulk_choosing.SelectionForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Saga]:
        """Return the sagas of the engine's database."""
        sagas: QuerySet[Saga] = super().get_queryset(request)
        return sagas.using(engine_database())

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[SagaList]:
        """Return the list class that reads its rows in few statements."""
        return SagaList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Saga], search_term: str
    ) -> tuple[QuerySet[Saga], bool]:
        """Search ids and business keys."""
        return search_sagas(queryset, search_term) if search_term.strip() else queryset, False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the filters only: any other lookup in the URL could query payloads or scan a table."""
        return lookup in PARAMETERS

    def get_ordering(self, request: HttpRequest) -> Any:
        """Return the order named in the URL if it is a known one, else newest first."""
        return find_order(request) or self.ordering

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of operations, notes, payload downloads, refreshes and reports."""
        operate = path(
            "<uuid:saga_id>/act/<slug:code>/",
            self.admin_site.admin_view(self.operate_view),
            name="sagas_saga_operate",
        )
        payload = path(
            "<uuid:saga_id>/payload/", self.admin_site.admin_view(self.payload_view), name="sagas_saga_payload"
        )
        wrap = self.admin_site.admin_view
        remedy = path(
            "<uuid:saga_id>/remedies/<slug:step>/<slug:name>/",
            without_requests_transactions(wrap(self.remedy_view)),
            name="sagas_saga_remedy",
        )
        refresh = [
            path("refresh/", wrap(self.refresh_list_view), name="sagas_saga_refresh_list"),
            path("<uuid:saga_id>/refresh/", wrap(self.refresh_view), name="sagas_saga_refresh"),
        ]
        note = path("<uuid:saga_id>/notes/", wrap(self.note_view), name="sagas_saga_note")
        pages = [*overview_urls.list_urls(self), *event_urls.list_urls(self)]
        return [operate, remedy, payload, note, *refresh, *pages, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list; a POST carries the rows selected for a bulk."""
        if request.method == "POST" and not self.get_actions(request):
            raise PermissionDenied
        views = saved_views.list_views(request)
        pages = {
            "saga_views": views,
            "is_view": any(view.is_current for view in views),
            "saga_exports": saved_views.list_exports(request),
            "save_url": saved_views.find_save_url(request),
        }
        bulks = bulk_choosing.link_to_bulks(request)
        context = {"title": "Sagas", **pages, **bulks, **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Return the operations for selected rows; the page of one saga has its own buttons.

        ``action_location``: the page they are for, since Django 6.1; None: the list.
        """
        if action_location is not None and action_location.name != "CHANGE_LIST":
            return {}
        return bulk_choosing.list_actions(request)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Saga], action_location: Any = None
    ) -> HttpResponse | None:
        """Redirect from the selected rows to their bulk; the admin's filtered queryset is not used."""
        return bulk_choosing.answer_selection(self, request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one saga; a POST is refused."""
        if not self.has_view_permission(request) or request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        try:
            require_selection(request)
        except QueryRefused as error:
            return self.refuse_query(request, str(error))
        saga_id = parse_saga_id(object_id)
        opened_from = OpenedFrom(self, request)
        page = read_page(self, request, saga_id, opened_from.select_neighbours) if saga_id else None
        if page is None:
            return self.redirect_to_list(request, object_id)
        context = {**page, **opened_from.link(page["neighbours"]), **(extra_context or {})}
        return self.render(request, "admin/sagas/saga/page.html", context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the saga's own history: it is complete, the admin's is not."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        saga_id = parse_saga_id(object_id)
        if saga_id is None:
            return self.redirect_to_list(request, object_id)
        return HttpResponseRedirect(find_saga_url(self.admin_site.name, saga_id, tab=Tab.HISTORY))

    def redirect_to_list(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the list with a message that the saga does not exist."""
        self.message_user(request, f"There is no saga {unquote(object_id)[:100]}.", messages.WARNING)
        return HttpResponseRedirect(find_url(self.admin_site.name, "sagas_saga_changelist"))

    def operate_view(self, request: HttpRequest, saga_id: UUID, code: str) -> HttpResponse:
        """Show the preview of an operation, or perform it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            return operation_pages.answer(self, request, saga_id, code)
        except Http404 as error:
            return self.refuse_query(request, str(error), status=404)

    def note_view(self, request: HttpRequest, saga_id: UUID) -> HttpResponse:
        """Store a note on a saga."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return note_page.answer_note(self, request, saga_id)

    def remedy_view(self, request: HttpRequest, saga_id: UUID, step: str, name: str) -> HttpResponse:
        """Show what a remedy does, or run it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            return remedy_pages.answer(self, request, saga_id, step, name)
        except Http404 as error:
            return self.refuse_query(request, str(error), status=404)

    def refresh_view(self, request: HttpRequest, saga_id: UUID) -> HttpResponse:
        """Return what has changed on the page of a saga."""
        if not self.has_view_permission(request) or request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        try:
            require_selection(request)
        except QueryRefused as error:
            return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
        return refreshing.answer_saga(self, request, saga_id)

    def refresh_list_view(self, request: HttpRequest) -> HttpResponse:
        """Return what has changed in the list."""
        if not self.has_view_permission(request) or request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        return refreshing.answer_list(self, request)

    def payload_view(self, request: HttpRequest, saga_id: UUID) -> HttpResponse:
        """Return one JSON value of a saga as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return payloads.answer(request, saga_id)

    @admin.display(description="State")
    def badge(self, saga: Saga) -> SafeString:
        """Show the state as a badge."""
        return render_to_string("admin/sagas/includes/badge.html", {"badge": row_of(saga).badge})

    @admin.display(description="Saga")
    def title(self, saga: Saga) -> SafeString:
        """Show the first business key that was given, or the id, then definition and version; it is the row's link."""
        keys = row_of(saga).keys
        name = set_apart(keys[0][1] if keys else str(saga.pk))
        return format_html(
            '<strong>{}</strong> <span class="saga-quiet">{} {}</span>', name, saga.definition, saga.version
        )

    @admin.display(description="Step")
    def step(self, saga: Saga) -> str:
        """Show the current step; empty for a closed saga."""
        return row_of(saga).step

    @admin.display(description="Cause or last error")
    def error(self, saga: Saga) -> SafeString:
        """Show the last error in one line, which unfolds."""
        error = row_of(saga).error
        return format_html(ERROR, set_apart(error)) if error else SafeString("")

    @admin.display(description="Attempts")
    def attempts(self, saga: Saga) -> str:
        """Show the attempts of the current step; of a closed saga those of all steps."""
        return row_of(saga).attempts

    @admin.display(description="Age")
    def age(self, saga: Saga) -> SafeString:
        """Show how long ago the saga was started."""
        row = row_of(saga)
        return format_html('<time datetime="{}">{}</time>', row.started.iso, row.age)

    @admin.display(description="Next due", empty_value="-")
    def next_due(self, saga: Saga) -> SafeString | None:
        """Show when the saga is due next."""
        due = row_of(saga).due
        return format_html('<time datetime="{}">{}</time>', due.iso, due.distance) if due is not None else None


def require_selection(request: HttpRequest) -> None:
    """Check the view, history filter and list positions in the URL of a saga's page.

    Raises: QueryRefused. An unknown step is no error: no step is chosen then.
    """
    read_choice(request, "tab", list(Tab))
    read_choice(request, "only", list(Only))
    for name in ("attempts_before", "history_before"):
        read_number(request, name)


def parse_saga_id(object_id: str) -> UUID | None:
    """Return the saga id in an admin URL, or None when the text is not a UUID."""
    try:
        return UUID(unquote(object_id))
    except ValueError:
        return None
