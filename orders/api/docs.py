"""Show the OpenAPI document to people, without a line of script inside the page."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerView

# As everywhere in the project, and the icons inside Swagger's style sheet.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class DocsView(SpectacularSwaggerView):
    """Swagger's page, started by a static file that reads the page's data attributes."""

    template_name = "orders/docs.html"

    @extend_schema(exclude=True)
    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the page."""
        response: HttpResponse = super().get(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = POLICY
        return response
