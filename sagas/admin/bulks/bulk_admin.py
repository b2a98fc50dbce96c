"""Admin of bulks: list, freeze, confirm, watch and stop them. Parses, calls one function, renders."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ...conf import get_settings
from ...exceptions import BadRequest, BulkNotFound, OperationRefused, PermissionRefused
from ...models import BulkState, SagaBulk
from ...operators.actor import Actor
from ...operators.audit import access_log
from ...operators.bulk import freezing, preconditions
from ...operators.bulk.preconditions import REASONS_AGAINST
from ...operators.preconditions import Operation
from ...operators.presentation.texts import set_apart
from ...operators.preview import LABELS
from ...operators.queries.failures import find_group
from ...operators.queries.saga_filter import GROUPS
from ...operators.visibility import find_visibility
from ..operations.operation_pages import PROMISES
from ..saga_list.strict_query import Matching, read_matching
from ..saga_page.page import GRAVE
from ..ui.addresses import find_url
from ..ui.base_filter import QueryRefused, read_choice, read_number
from ..ui.page_parts import answer_parts
from ..ui.paging import CappedPaginator
from ..ui.view_only import ViewOnlyAdmin, engine_database, moment_column
from .bulk_choosing import list_operations
from .bulk_forms import StartForm, StopForm
from .bulk_page import RESULT_BADGES, STATE_BADGES, BulkPage, build_bulk_page

NEW, PAGE = "admin/sagas/bulk/new.html", "admin/sagas/bulk/page.html"
BULK_PARTS = {f"[data-part={part}]": f"admin/sagas/bulk/{part}.html" for part in ("head", "progress", "results")}
# At the end the page loses the form that stops the bulk; before, its token would make each response differ.
ENDED_PARTS = {**BULK_PARTS, "[data-part=stop]": "admin/sagas/bulk/stop.html"}
RELOAD_SECONDS = 5
RELOAD = "reload"


@admin.register(SagaBulk)
class SagaBulkAdmin(ViewOnlyAdmin):
    """Admin of bulks."""

    list_display = ("title", "badge", "who", "frozen", "ended")
    list_display_links = ("title",)
    frozen, ended = moment_column("frozen_at", "Selected"), moment_column("ended_at", "Ended")
    list_per_page = 50
    list_max_show_all = 0
    ordering = ("-frozen_at", "-id")
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator

    class Media:
        css = {"all": ("sagas/page.css",)}

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the bulks of the engine's database."""
        return super().get_queryset(request).using(engine_database())

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow no lookup from the URL."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs that freeze, confirm, stop and refresh."""
        wrap = self.admin_site.admin_view
        return [
            path("new/", wrap(self.new_view), name="sagas_sagabulk_new"),
            path("<uuid:bulk_id>/start/", wrap(self.start_view), name="sagas_sagabulk_start"),
            path("<uuid:bulk_id>/stop/", wrap(self.stop_view), name="sagas_sagabulk_stop"),
            path("<uuid:bulk_id>/refresh/", wrap(self.refresh_view), name="sagas_sagabulk_refresh"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the bulks, newest first."""
        return super().changelist_view(request, extra_context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the bulk itself: it shows the result of each saga."""
        return HttpResponseRedirect(find_url(self.admin_site.name, "sagas_sagabulk_change", object_id))

    def new_view(self, request: HttpRequest) -> HttpResponse:
        """Show the matches of a filter and the possible operations; on POST freeze the set for the chosen operation."""
        self._require_view(request)
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        try:
            matching = read_matching(self.admin_site, request)
            if request.method != "POST":
                return self._offer(request, matching)
            frozen = freezing.freeze_matching(
                _find_operation(request.POST.get("operation", "")),
                matching.sagas,
                actor=Actor.of_user(request.user),
                filter=matching.filter,
                words=matching.words,
                everything=matching.is_everything,
            )
        except PermissionRefused as error:
            return self._render(request, NEW, {"refusal": str(error)}, 403)
        except BadRequest as error:
            return self._render(request, NEW, {"refusal": str(error)}, 400)
        return HttpResponseRedirect(self._url_of(frozen))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a bulk; a POST is refused."""
        self._require_view(request)
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        try:
            found = freezing.find_bulk(UUID(unquote(object_id)))
        except (ValueError, BulkNotFound):
            self.message_user(request, f"There is no bulk {unquote(object_id)[:100]}.", messages.WARNING)
            return HttpResponseRedirect(find_url(self.admin_site.name, "sagas_sagabulk_changelist"))
        try:
            return self._show(request, found)
        except QueryRefused as error:
            return self.refuse_query(request, str(error))

    def start_view(self, request: HttpRequest, bulk_id: UUID) -> HttpResponse:
        """Confirm a set."""
        found = self._find(request, bulk_id)
        form = self._start_form(found, request.POST)
        if not form.is_valid():
            return self._show(request, found, start_form=form, status=400)
        actor = Actor.of_user(request.user)
        try:
            found, is_new = freezing.start_bulk(bulk_id, actor=actor, **form.cleaned_data)
        except BadRequest as error:
            form.add_error(None, str(error))
            return self._show(request, found, start_form=form, status=400)
        except OperationRefused as error:
            status = 403 if isinstance(error, PermissionRefused) else 409
            return self._show(request, found, refusal=str(error), status=status)
        if is_new:
            self.message_user(request, f"Started: workers act on {_count(found.total)} now.", messages.SUCCESS)
        else:
            self.message_user(request, "The bulk was already started, and only once.", messages.INFO)
        return HttpResponseRedirect(f"{self._url_of(found)}?{RELOAD}=on")

    def stop_view(self, request: HttpRequest, bulk_id: UUID) -> HttpResponse:
        """Stop a bulk."""
        found = self._find(request, bulk_id)
        form = StopForm(request.POST, label_suffix="")
        if not form.is_valid():
            return self._show(request, found, stop_form=form, status=400)
        actor = Actor.of_user(request.user)
        try:
            found, is_new = freezing.stop_bulk(bulk_id, actor=actor, reason=form.cleaned_data["reason"])
        except BadRequest as error:
            form.add_error(None, str(error))
            return self._show(request, found, stop_form=form, status=400)
        except OperationRefused as error:
            status = 403 if isinstance(error, PermissionRefused) else 409
            return self._show(request, found, refusal=str(error), status=status)
        done, level = ("Stopped.", messages.SUCCESS) if is_new else ("The bulk was already over.", messages.INFO)
        self.message_user(request, done, level)
        return HttpResponseRedirect(self._url_of(found))

    def refresh_view(self, request: HttpRequest, bulk_id: UUID) -> HttpResponse:
        """Return the progress of a bulk to an open page."""
        self._require_view(request)
        try:
            found = freezing.find_bulk(bulk_id)
        except BulkNotFound as error:
            raise Http404(str(error)) from error
        try:
            page = self._build(request, found)
        except QueryRefused as error:
            return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
        parts = ENDED_PARTS if found.is_over else BULK_PARTS
        return answer_parts(request, parts, {"page": page}, news=_describe_progress(page))

    @admin.display(description="Bulk")
    def title(self, found: SagaBulk) -> SafeString:
        """Show operation, number of sagas and how they were selected; it is the row's link."""
        label = LABELS[Operation(found.operation)]
        return format_html(
            '{}: {}<span class="saga-key saga-quiet">{}</span>', label, _count(found.total), set_apart(found.words)
        )

    @admin.display(description="State")
    def badge(self, found: SagaBulk) -> SafeString:
        """Show the state of the bulk as a badge."""
        badge = STATE_BADGES[BulkState(found.state)]
        return render_to_string("admin/sagas/includes/badge.html", {"badge": badge})

    @admin.display(description="Operator and reason")
    def who(self, found: SagaBulk) -> SafeString:
        """Show the operator who froze the bulk, and the reason."""
        return format_html(
            '{}<span class="saga-key saga-quiet">{}</span>', set_apart(found.actor), set_apart(found.reason)
        )

    def _offer(self, request: HttpRequest, matching: Matching) -> HttpResponse:
        count = freezing.count_matching(matching.sagas)
        limit = get_settings().bulk_max
        choices = [
            {
                "code": operation.value, "label": LABELS[operation], "promise": PROMISES[operation],
                "is_grave": operation in GRAVE,
            }
            for operation in list_operations(request)
        ]  # fmt: skip
        against = [(LABELS[operation], reason) for operation, reason in REASONS_AGAINST.items()]
        context = {
            "matching": matching, "patterns": _find_patterns(request, matching.filter), "against": against,
            "count": count, "limit": limit, "is_too_many": count > limit, "choices": choices,
        }  # fmt: skip
        return self._render(request, NEW, context)

    def _find(self, request: HttpRequest, bulk_id: UUID) -> SagaBulk:
        """Return the bulk that a POST acts on.

        Raises: PermissionDenied; Http404.
        """
        self._require_view(request)
        if request.method != "POST":
            raise PermissionDenied
        try:
            return freezing.find_bulk(bulk_id)
        except BulkNotFound as error:
            raise Http404(str(error)) from error

    def _show(
        self,
        request: HttpRequest,
        found: SagaBulk,
        *,
        start_form: StartForm | None = None,
        stop_form: StopForm | None = None,
        refusal: str = "",
        status: int = 200,
    ) -> HttpResponse:
        page, site = self._build(request, found), self.admin_site.name
        is_running = found.state == BulkState.RUNNING
        reloads = is_running and request.method == "GET" and request.GET.get(RELOAD) == "on"
        context = {
            "page": page,
            "patterns": _find_patterns(request, found.filter or {}),
            "refusal": refusal,
            "promise": PROMISES[page.operation],
            "is_grave": page.operation in GRAVE,
            "why_not": self._find_obstacle(request, page),
            "start_form": start_form or self._start_form(found),
            "stop_form": stop_form or StopForm(label_suffix=""),
            "may_stop": is_running and Actor.of_user(request.user).may(preconditions.BULK_PERMISSION),
            "reloads": reloads,
            "reload_seconds": RELOAD_SECONDS,
            "start_url": find_url(site, "sagas_sagabulk_start", found.pk),
            "stop_url": find_url(site, "sagas_sagabulk_stop", found.pk),
            "refresh_url": find_url(site, "sagas_sagabulk_refresh", found.pk) if is_running else "",
        }
        return self._render(request, PAGE, context, status)

    def _build(self, request: HttpRequest, found: SagaBulk) -> BulkPage:
        """Return the page of a bulk; after a POST its first page without a filter.

        Raises: QueryRefused for an unknown result or a position outside the set.
        """
        if request.method == "POST":
            return build_bulk_page(found, site=self.admin_site.name, chosen="", after=0)
        chosen = read_choice(request, "result", RESULT_BADGES)
        after = read_number(request, "after", highest=found.total) or 0
        return build_bulk_page(found, site=self.admin_site.name, chosen=chosen, after=after)

    def _url_of(self, found: SagaBulk) -> str:
        return find_url(self.admin_site.name, "sagas_sagabulk_change", found.pk)

    def _find_obstacle(self, request: HttpRequest, page: BulkPage) -> str:
        """Return why this operator cannot confirm the set; empty when it is possible."""
        if page.bulk.state != BulkState.FROZEN:
            return ""
        actor = Actor.of_user(request.user)
        if lapse := preconditions.find_lapse(actor, page.operation):
            return lapse
        if (page.bulk.account, page.bulk.actor) != (freezing.account_of(actor), actor.name):
            return f"{page.bulk.actor} froze this selection; freeze your own to confirm it."
        return "This selection is too old to be confirmed. Select the sagas again." if page.is_expired else ""

    def _start_form(self, found: SagaBulk, data: Mapping[str, Any] | None = None) -> StartForm:
        return StartForm(
            data,
            total=found.total,
            needs_count=found.total > preconditions.CONFIRM_COUNT_ABOVE,
            needs_words=found.is_unfiltered,
        )

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _render(
        self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        page = context.get("page")
        title = "Operation on all matching sagas"
        if page is not None:
            title = f"{page.label}: {_count(page.bulk.total)}"
        bulks_url = find_url(self.admin_site.name, "sagas_sagabulk_changelist")
        shared = {
            **self.admin_site.each_context(request), "opts": self.opts, "media": self.media, "title": title,
            # The list that the set was frozen from, where this site shows it.
            "list_url": find_url(self.admin_site.name, "sagas_saga_changelist") or bulks_url, "bulks_url": bulks_url,
        }  # fmt: skip
        return TemplateResponse(request, template, {**shared, **context}, status=status)


def _find_patterns(request: HttpRequest, filter: Mapping[str, str]) -> list[str]:
    """Return the message patterns of the failure groups of a filter, for users who may see error texts."""
    actor = Actor.of_user(request.user)
    visibility, keys = find_visibility(actor), [filter[name] for name in sorted(GROUPS & set(filter))]
    if keys:
        detail = f"failure group {' and '.join(keys)}"
        visibility = access_log.log_visible(visibility, actor.name, access_log.What.PAGE, detail=detail)
    found = (find_group(key) for key in keys) if visibility.has_errors else ()
    return [group.pattern for group in found if group is not None and group.pattern]


def _count(total: int) -> str:
    """Return a number of sagas in words."""
    return f"{total} saga{'' if total == 1 else 's'}"


def _describe_progress(page: BulkPage) -> str:
    """Return what a screen reader announces: tenths of the sagas, not every one of them, and the end."""
    if page.bulk.is_over:
        return f"{page.badge.word.capitalize()}: {page.done} of {page.bulk.total} sagas have a result."
    return f"{10 * (10 * page.done // page.bulk.total)} % of {page.bulk.total} sagas have a result."


def _find_operation(text: str) -> Operation:
    """Return the operation chosen in a form.

    Raises: BadRequest.
    """
    try:
        return Operation(text)
    except ValueError as error:
        raise BadRequest("Choose one of the operations.") from error
