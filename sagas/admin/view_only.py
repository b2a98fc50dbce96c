"""Refuse to add, change and delete rows by hand, to everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse

from ..conf import get_settings
from ..display.times import describe_moment


class ViewOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic when it runs
    """Let those look who have the view permission, and nobody do more."""

    actions = None
    change_list_template = "admin/sagas/plain_list.html"

    class Media:
        css = {"all": ("sagas/console.css",)}
        js = (Script("sagas/console.js", defer=True),)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the rows under their name; nothing is selected here, as the admin's own title says."""
        title = str(self.opts.verbose_name_plural).capitalize()
        response: HttpResponse = super().changelist_view(request, {"title": title, **(extra_context or {})})
        return response

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows of the engine's database, whatever a router says of reading."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.using(engine_database())

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False


def moment_column(field: str, label: str) -> Callable[[Any, Any], str | None]:
    """Return a column that shows a moment as all of the console does; the admin's own is local and names no zone."""

    @admin.display(description=label, empty_value="-")
    def show(_admin: Any, row: Any) -> str | None:
        moment = getattr(row, field)
        return describe_moment(moment) if moment is not None else None

    return show


def number_column(field: str, label: str) -> Callable[[Any, Any], str]:
    """Return a column that shows a number digit by digit; the admin's own groups its digits as the locale does."""

    @admin.display(description=label)
    def show(_admin: Any, row: Any) -> str:
        return str(getattr(row, field))

    return show


def engine_database() -> str:
    """Return the alias that sagas are read from."""
    return get_settings().database
