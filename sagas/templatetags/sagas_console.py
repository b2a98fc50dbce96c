"""Template filters for external texts, and tags for the dashboard and the console's script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.forms import Media, Script
from django.template.context import Context
from django.utils.safestring import SafeString

from ..operators.presentation.drawing.charts import Chart
from ..operators.presentation.texts import set_apart, show_invisible

if TYPE_CHECKING:
    from ..admin.dashboard.dashboard import Dashboard
    from ..admin.ui.menu import Menu

register = template.Library()


@register.filter
def foreign(value: Any) -> SafeString:
    """Return an external text in one line, isolated from its surroundings and with hidden characters visible."""
    return set_apart(value)


@register.filter
def foreign_lines(value: Any) -> SafeString:
    """Return an external text for a block of its own, with its line ends."""
    return set_apart(value, keep_lines=True)


@register.filter
def visibly(value: Any) -> str:
    """Return an external text for an attribute or a title, which cannot hold elements; it still needs escaping."""
    return show_invisible(str(value))


@register.filter
def placed(changes: Any, cells: list[Any]) -> list[tuple[Any, Any]]:
    """Return the rows of the list of sagas: groups of failures, or the cells of a saga."""
    from ..admin.saga_list.group_rows import place_groups

    return list(place_groups(changes.group_rows, changes.result_list, cells))


@register.filter
def picture(chart: Chart) -> SafeString:
    """Return the drawing of a chart; every text in it is escaped already."""
    return SafeString(chart.svg)


@register.simple_tag(takes_context=True)
def saga_dashboard(context: Context) -> Dashboard | None:
    """Return the dashboard, or None without the permission to view sagas or on a site without them."""
    # Django imports every tag library, even in projects without the admin.
    from ..admin.dashboard.dashboard import build_dashboard
    from ..admin.ui.addresses import find_url, site_of
    from ..admin.ui.spans import PARAMETER
    from ..operators.actor import Actor

    request: Any = context.get("request")
    if request is None or not request.user.has_perm("sagas.view_saga"):
        return None
    site = site_of(request)
    span = request.GET.get(PARAMETER, "")
    reader = Actor.of_user(request.user)
    return build_dashboard(site, reader, span) if find_url(site, "sagas_saga_changelist") else None


@register.simple_tag(takes_context=True)
def saga_menu(context: Context) -> Menu | None:
    """Return the console's menu, or None without the permission to view sagas or on a site without them."""
    from ..admin.ui.menu import build_menu

    request: Any = context.get("request")
    if request is None:
        return None
    if not hasattr(request, "saga_menu"):
        request.saga_menu = build_menu(request)
    found: Menu | None = request.saga_menu
    return found


@register.simple_tag
def saga_script() -> SafeString:
    """Return the script element of the console."""
    return Media(js=[Script("sagas/console.js", defer=True)]).render()  # type: ignore[list-item]
