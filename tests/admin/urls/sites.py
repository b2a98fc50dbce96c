"""Make admin sites as projects have them: of any name, with all of the engine's models or some, beside one another."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite

from sagas.models import Saga, SagaBulk, SagaWorker


def make_site(name: str, *models: type[Any], labels: frozenset[str] = frozenset()) -> AdminSite:
    """Return a site with these models and those of these apps, each under the admin that the default site has."""
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
    """A site that stands in for the default one: ``AdminConfig.default_site`` names it."""

    def __init__(self) -> None:
        super().__init__(name="branch")
