"""Middleware that removes untrusted proxy headers from requests and refuses compressed bodies."""

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from rest_framework.settings import api_settings

from sagas.api.problem_documents import Problem

# Of these, the entry that the project's outermost proxy added is kept.
CHAINS = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")
# The project does not need these, and libraries trust them by default.
NEVER = (
    "HTTP_FORWARDED", "HTTP_FORWARDED_FOR", "HTTP_X_FORWARDED", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX", "HTTP_X_FORWARDED_PROTOCOL", "HTTP_X_FORWARDED_SERVER", "HTTP_X_FORWARDED_SSL",
    "HTTP_X_SCRIPT_NAME", "HTTP_SCRIPT_NAME", "HTTP_PATH_INFO", "HTTP_REMOTE_USER", "HTTP_REMOTE_ADDR",
    "HTTP_X_REAL_IP", "HTTP_X_CLIENT_IP", "HTTP_X_CLUSTER_CLIENT_IP", "HTTP_CLIENT_IP", "HTTP_TRUE_CLIENT_IP",
    "HTTP_CF_CONNECTING_IP", "HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_ORIGINAL_URL", "HTTP_X_REWRITE_URL",
)  # fmt: skip
# An address with the client's port, as some proxies write it.
WITH_PORT = re.compile(r"\[(?P<v6>[0-9a-fA-F:.]+)\](?::[0-9]+)?|(?P<v4>[0-9.]+):[0-9]+")
IDENTITY = {"", "identity"}

GetResponse = Callable[[HttpRequest], HttpResponse]


class ProxyHeadersMiddleware:
    """Middleware that removes proxy headers which NUM_PROXIES does not cover.

    With n proxies, only the n-th last entry of X-Forwarded-For and X-Forwarded-Proto is kept, which the outermost proxy
    added. Earlier entries, which a client can forge, are removed. Without a proxy, all are removed.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response to the request without untrusted headers."""
        count = api_settings.NUM_PROXIES or 0
        for name in NEVER:
            request.META.pop(name, None)
        for name in CHAINS:
            chain = request.META.pop(name, None)
            if chain is not None and count:
                entries = [entry.strip() for entry in chain.split(",")]
                request.META[name] = strip_port(entries[-min(count, len(entries))])
        return self.get_response(request)


class ContentEncodingMiddleware:
    """Middleware that refuses compressed bodies, because they would be read as if uncompressed."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response, or 415 for a compressed body."""
        codings = {coding.strip().lower() for coding in request.META.get("HTTP_CONTENT_ENCODING", "").split(",")}
        if codings <= IDENTITY:
            return self.get_response(request)
        return Problem(
            status=415,
            code="unsupported-media-type",
            detail="Send the body uncompressed, without a Content-Encoding.",
            headers={"Accept-Encoding": "identity"},
        ).as_response()


def strip_port(entry: str) -> str:
    """Return an address without its port and brackets; anything else unchanged."""
    match = WITH_PORT.fullmatch(entry)
    return (match["v6"] or match["v4"]) if match else entry
