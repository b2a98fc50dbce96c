"""Read-only base class of the console's admins, and its columns."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.forms import Script
from django.forms.widgets import MediaAsset
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from ...conf import get_settings
from ...operators.presentation.texts import set_apart
from ...operators.presentation.times import describe_moment
from .addresses import find_url
from .base_filter import QueryRefused
from .page_selection import LIST_FILTERS
from .paging import PagedList

REFUSED = "admin/sagas/refused.html"


class Icon(MediaAsset):
    """Icon of a page in the browser's tab."""

    element_template = '<link href="{path}"{attributes}>'


class ViewOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic when it runs
    """Read-only admin: the view permission shows rows, and no permission allows changes."""

    actions = None
    change_list_template = "admin/sagas/plain_list.html"

    class Media:
        css = {
            "all": (
                Icon("sagas/favicon.svg", rel="icon", type="image/svg+xml"),
                "sagas/console.css",
                "sagas/overview.css",
            )
        }
        js = (Script("sagas/console.js", defer=True),)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list under the model's name; the admin's own title asks to select a row.

        An invalid query returns 400 without rows.
        """
        context = {"title": self.list_title, **(extra_context or {})}
        try:
            response: HttpResponse = super().changelist_view(request, context)
        except QueryRefused as error:
            return self.refuse_query(request, str(error))
        return response

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows of the engine's database, whatever a router returns for reads."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.using(engine_database())

    @property
    def list_title(self) -> str:
        """Title of the list."""
        return str(self.opts.verbose_name_plural).capitalize()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PagedList]:
        """Return the list class that refuses pages that do not exist."""
        return PagedList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list.

        Raises: QueryRefused for an invalid query; the admin itself would show every row instead.
        """
        try:
            found: ChangeList = super().get_changelist_instance(request)
        except IncorrectLookupParameters as error:
            raise QueryRefused(str(error)) from error
        return found

    def refuse_query(self, request: HttpRequest, refusal: str, status: int = 400) -> HttpResponse:
        """Return a page that says what is wrong with the query and links to the list; it has no rows."""
        context = {"title": self.list_title, "refusal": refusal, "nothing": "Nothing is shown."}
        return self.render(request, REFUSED, context, status)

    def render(
        self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
    ) -> TemplateResponse:
        """Return a page of the console with the site's context."""
        request.current_app = self.admin_site.name
        list_url = find_url(self.admin_site.name, f"{self.opts.app_label}_{self.opts.model_name}_changelist")
        if filters := request.GET.get(LIST_FILTERS):
            list_url = f"{list_url}?{filters}"
        shared = {"opts": self.opts, "media": self.media, "list_url": list_url, "list_title": self.list_title}
        whole = {**self.admin_site.each_context(request), **shared, **context}
        return TemplateResponse(request, template, whole, status=status)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False."""
        return False


def moment_column(field: str, label: str) -> Callable[[Any, Any], str | None]:
    """Return a column with a moment in the console's format; the admin's own is local and names no zone."""

    @admin.display(description=label, empty_value="-")
    def show(_admin: Any, row: Any) -> str | None:
        moment = getattr(row, field)
        return describe_moment(moment) if moment is not None else None

    return show


def number_column(field: str, label: str) -> Callable[[Any, Any], str]:
    """Return a column with a number without separators; the admin's own groups digits by locale."""

    @admin.display(description=label)
    def show(_admin: Any, row: Any) -> str:
        return str(getattr(row, field))

    return show


def text_column(field: str, label: str) -> Callable[[Any, Any], str]:
    """Return a column with an external text, isolated and with hidden characters visible, unlike the admin's own."""

    @admin.display(description=label)
    def show(_admin: Any, row: Any) -> str:
        return set_apart(getattr(row, field))

    return show


def engine_database() -> str:
    """Return the alias of the engine's database."""
    return get_settings().database
