"""Content-Security-Policy of every response: only the project's own files are loaded and run."""

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
    """Middleware that sets the policy, unless a view has set its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response with the policy."""
        response = self.get_response(request)
        # Django's own error pages in DEBUG have inline styles and scripts.
        if not (settings.DEBUG and response.status_code >= HTTPStatus.BAD_REQUEST):
            response.headers.setdefault(HEADER, POLICY)
        return response
