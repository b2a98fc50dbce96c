"""Requests behind proxies: trusted headers, and bodies without a length."""

import io
import json
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from config.bodies import BodyKeeper
from config.front_server import make_answer
from config.requests import NEVER, ContentEncodingMiddleware, ProxyHeadersMiddleware, strip_port


def pass_on(headers: dict[str, str]) -> HttpRequest:
    """Send a request through the middleware, and return what a view would see."""
    seen: list[HttpRequest] = []

    def answer(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    ProxyHeadersMiddleware(answer)(RequestFactory().get("/", headers=headers))
    return seen[0]


@pytest.fixture
def count_proxies(settings: Any) -> Any:
    """Set how many proxies there are."""

    def count(number: int) -> None:
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": number}

    return count


@pytest.mark.parametrize(
    ("proxies", "chain", "left"),
    [
        (0, "1.1.1.1", None),
        (0, "1.1.1.1, 2.2.2.2", None),
        (1, "2.2.2.2", "2.2.2.2"),
        (1, "1.1.1.1, 2.2.2.2", "2.2.2.2"),
        (1, "1.1.1.1,2.2.2.2", "2.2.2.2"),
        (2, "1.1.1.1, 2.2.2.2, 3.3.3.3", "2.2.2.2"),
        (2, "3.3.3.3", "3.3.3.3"),
        (1, "1.1.1.1, 2.2.2.2:4711", "2.2.2.2"),
        (1, "1.1.1.1, [2001:db8::1]:4711", "2001:db8::1"),
        (1, "1.1.1.1, [2001:db8::1]", "2001:db8::1"),
        (1, "1.1.1.1, 2001:db8::1", "2001:db8::1"),
        (1, "1.1.1.1, unknown", "unknown"),
    ],
)
def test_address_is_the_one_from_the_outermost_proxy(
    count_proxies: Any, proxies: int, chain: str, left: str | None
) -> None:
    count_proxies(proxies)

    assert pass_on({"X-Forwarded-For": chain}).headers.get("X-Forwarded-For") == left


@pytest.mark.parametrize(
    ("proxies", "chain", "is_secure"),
    [
        (0, "https", False),
        (1, "https", True),
        (1, "http", False),
        # A client wrote the first, the proxy added the second.
        (1, "https, http", False),
        (1, "https,http", False),
        (1, "http, https", True),
        (2, "https, https, http", True),
    ],
)
def test_scheme_is_the_one_from_the_outermost_proxy(
    count_proxies: Any, settings: Any, proxies: int, chain: str, is_secure: bool
) -> None:
    count_proxies(proxies)
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

    assert pass_on({"X-Forwarded-Proto": chain}).is_secure() is is_secure


@pytest.mark.parametrize("proxies", [0, 1])
@pytest.mark.parametrize("name", NEVER)
def test_unneeded_header_is_removed(count_proxies: Any, proxies: int, name: str) -> None:
    count_proxies(proxies)
    header = name.removeprefix("HTTP_").replace("_", "-")

    assert name not in pass_on({header: "1.1.1.1"}).META


@pytest.mark.parametrize("entry", ["", "unknown", "_hidden", "1.2.3.4", "2001:db8::1", "::ffff:1.2.3.4", "a:80"])
def test_entry_without_a_port_is_unchanged(entry: str) -> None:
    assert strip_port(entry) == entry


def test_encoded_body_reaches_no_view() -> None:
    def fail(request: HttpRequest) -> HttpResponse:
        raise AssertionError("A view was asked.")

    request = RequestFactory().post("/", b"x", content_type="application/json", headers={"Content-Encoding": "gzip"})
    response = ContentEncodingMiddleware(fail)(request)

    assert (response.status_code, response["Content-Type"]) == (415, "application/problem+json")


def ask_keeper(**environ: Any) -> tuple[str, bytes, list[bytes]]:
    """Send a body to an application that reads as much as allowed; return status, response and what it read."""
    read: list[bytes] = []
    statuses: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        read.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [])
        return [b"read"]

    answer = BodyKeeper(application)({"HTTP_TRANSFER_ENCODING": "chunked", **environ}, lambda s, _h: statuses.append(s))
    return statuses[0], b"".join(answer), read


@pytest.mark.parametrize(("size", "status"), [(0, 200), (1024, 200), (1025, 413)])
def test_body_without_a_length_is_limited(settings: Any, size: int, status: int) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1024
    environ = {"wsgi.input": io.BytesIO(b"x" * size), "wsgi.input_terminated": True}

    answered, _, read = ask_keeper(**environ)

    assert int(answered[:3]) == status
    assert read == ([b"x" * size] if size <= 1024 else [])


def test_body_whose_end_the_server_does_not_know_needs_a_length() -> None:
    status, content, read = ask_keeper(**{"wsgi.input": io.BytesIO(b"x")})

    assert (status, json.loads(content)["code"], read) == ("411 Length Required", "length-required", [])


def test_page_with_an_unknown_status_is_unchanged() -> None:
    assert make_answer(b"something else") == b"something else"
