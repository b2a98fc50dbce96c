"""Custom admin sites: any name, all or some of the engine's models, several side by side."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite

from sagas.models import Saga, SagaBulk, SagaWorker


def make_site(name: str, *models: type[Any], labels: frozenset[str] = frozenset()) -> AdminSite:
    """Return a site with these models and apps, each with the admin class of the default site."""
    site = AdminSite(name=name)
    for model, model_admin in admin.site._registry.items():
        if model in models or model._meta.app_label in labels:
            site.register(model, type(model_admin))
    return site


ops = make_site("ops", labels=frozenset({"sagas"}))
desk = make_site("desk", labels=frozenset({"sagas", "orders", "payments", "inventory", "shipping"}))
sagas_alone = make_site("sagas-alone", Saga)
without_sagas = make_site("without-sagas", SagaBulk, SagaWorker)


class BranchSite(AdminSite):
    """Site that replaces the default one: ``AdminConfig.default_site`` names it."""

    def __init__(self) -> None:
        super().__init__(name="branch")
