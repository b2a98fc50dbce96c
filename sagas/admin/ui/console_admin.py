"""Base class of the saga admin, on which its pages rely for rendering, refusals and links."""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse

from ...models import Saga
from .. import links
from . import saved_views
from .view_only import REFUSED, ViewOnlyAdmin


class ConsoleAdmin(ViewOnlyAdmin):
    """Base of ``SagaAdmin``; pages about sagas depend on it rather than on the class that routes to them."""

    def get_links(self, saga: Saga, keys: Mapping[str, str]) -> list[links.Link]:
        """Return links to pages of the saga's business objects; by default those of registered resolvers.

        A link that names an admin page leads to it on this site, or is left out where the site does not have the page.
        """
        return links.list_links(saga, keys)

    def refuse_query(self, request: HttpRequest, refusal: str, status: int = 400) -> HttpResponse:
        """Return a page that says what is wrong with the query and links to the list and its views; it has no rows."""
        context = {
            "title": "Sagas", "refusal": refusal, "nothing": "No saga is shown.",
            "saga_views": saved_views.list_views(request),
        }  # fmt: skip
        return self.render(request, REFUSED, context, status)
