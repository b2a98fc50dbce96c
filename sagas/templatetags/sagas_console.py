"""Let the admin's own index of the app show the dashboard, without an AdminSite of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.forms import Media, Script
from django.template.context import Context
from django.utils.safestring import SafeString

if TYPE_CHECKING:
    from ..admin.dashboard import Dashboard

register = template.Library()


@register.simple_tag(takes_context=True)
def saga_dashboard(context: Context) -> Dashboard | None:
    """Return the dashboard for those who may see sagas, on a site that shows them; else None."""
    # Django imports every library of tags, also in projects without the admin.
    from ..admin.addresses import find_url, site_of
    from ..admin.dashboard import build_dashboard

    request: Any = context.get("request")
    if request is None or not request.user.has_perm("sagas.view_saga"):
        return None
    site = site_of(request)
    return build_dashboard(site) if find_url(site, "sagas_saga_changelist") else None


@register.simple_tag
def saga_script() -> SafeString:
    """Return what loads the console's script."""
    return Media(js=[Script("sagas/console.js", defer=True)]).render()  # type: ignore[list-item]
