"""Send every answer with a Content-Security-Policy that runs and loads nothing but the project's own files."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER = "Content-Security-Policy"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)


class ContentSecurityPolicyMiddleware:
    """Set the policy, unless a view has set one of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer with the policy."""
        response = self.get_response(request)
        # Django's own pages of errors in DEBUG carry their styles and scripts inside.
        if not (settings.DEBUG and response.status_code >= HTTPStatus.BAD_REQUEST):
            response.headers.setdefault(HEADER, POLICY)
        return response
