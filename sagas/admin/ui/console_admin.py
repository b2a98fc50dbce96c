"""The part of the sagas' admin that its pages build on: how they are rendered, refused and linked."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse

from ...models import Saga
from .. import links
from . import saved_views
from .view_only import REFUSED, ViewOnlyAdmin


class ConsoleAdmin(ViewOnlyAdmin):
    """Base of ``SagaAdmin``; the pages about sagas take it, so that they need not know the class that leads to them."""

    def get_links(self, saga: Saga, keys: Mapping[str, str]) -> list[links.Link]:
        """Return links to the pages of what the saga is about; by default those that apps have registered.

        A link that names a page of the admin leads to it on this site, or is left out where the site does not have it.
        """
        return links.list_links(saga, keys)

    def refuse_query(self, request: HttpRequest, refusal: str, status: int = 400) -> HttpResponse:
        """Say what of a query is wrong, and lead to the list and its views; show no rows."""
        context = {
            "title": "Sagas", "refusal": refusal, "nothing": "No saga is shown.",
            "saga_views": saved_views.list_views(request),
        }  # fmt: skip
        return self.render(request, REFUSED, context, status)
