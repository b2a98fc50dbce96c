"""Custom admin sites."""

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig


class HarbourSite(admin.AdminSite):
    """Site with its own name and header."""

    site_header = "Harbour"


class HarbourAdminConfig(AdminConfig):
    """Django's admin with the custom site as default."""

    default_site = "harbour.sites.HarbourSite"


def make_ops_site() -> HarbourSite:
    """Return another site with the engine's models, shown as on the default site."""
    site = HarbourSite(name="ops")
    admin.autodiscover()
    for model, model_admin in list(admin.site._registry.items()):
        if model._meta.app_label == "sagas":
            site.register(model, type(model_admin))
    return site
