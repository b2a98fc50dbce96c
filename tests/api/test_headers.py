"""Content-Security-Policy: set on every response, and no page has inline scripts or styles."""

import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

from config.headers import POLICY
from config.urls import urlpatterns as project_urls
from orders.api.docs import POLICY as POLICY_OF_DOCS
from orders.seed import seed_shop
from tests.admin import trips

pytestmark = pytest.mark.django_db


def fail(request: object) -> HttpResponse:
    """Fail."""
    raise ValueError("planted")


def set_own_policy(request: object) -> HttpResponse:
    """Respond with a policy of its own."""
    return HttpResponse(headers={"Content-Security-Policy": "default-src 'none'"})


urlpatterns = [path("admin/broken/", fail), path("api/broken/", fail), path("own/", set_own_policy), *project_urls]
handler400 = "orders.api.problems.refuse_bad_request"
handler403 = "orders.api.problems.refuse_permission"
handler404 = "orders.api.problems.refuse_unknown"
handler500 = "orders.api.problems.report_failure"

ANSWERS = {
    "/admin/": 200, "/admin/login/": 302, "/admin/auth/user/": 200, "/admin/auth/user/add/": 200,
    "/admin/password_change/": 200, "/admin/jsi18n/": 200, "/admin/sagas/saga/": 200, "/admin/sagas/sagaworker/": 200,
    "/admin/sagas/sagabarrier/": 200, "/admin/orders/order/": 200, "/admin/orders/product/": 200,
    "/admin/payments/payment/": 200, "/admin/inventory/stockitem/": 200, "/admin/shipping/shipment/": 200,
    "/admin/nothing/": 404, "/admin/broken/": 500, "/api/broken/": 500, "/api/docs": 301, "/api/schema/": 200,
    "/api/v1/products/": 200, "/api/v1/nothing/": 404, "/api/v1/checkout/": 405, "/nothing/": 404, "/healthz": 200,
    "/readyz": 200, "/metrics": 200, "/static/sagas/console.css": 200, "/static/orders/docs.js": 200,
}  # fmt: skip
HANDLERS = re.compile(r"^on[a-z]+$")


class Finder(HTMLParser):
    """Collector of what a strict policy forbids on a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        is_data = (values.get("type") or "").endswith("json")
        is_file = (values.get("src") or "").startswith(("/static/", "/admin/jsi18n/"))
        if tag == "style" or (tag == "script" and not is_data and not is_file):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            if name == "style" or HANDLERS.match(name) or (value or "").strip().lower().startswith("javascript:"):
                self.found.append(f"<{tag} {name}>")


def find_inline(page: HttpResponse) -> list[str]:
    finder = Finder()
    finder.feed(page.content.decode())
    return finder.found


@pytest.fixture
def admin() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    return client


@override_settings(ROOT_URLCONF="tests.api.test_headers")
def test_every_answer_has_the_policy_and_nothing_inline(admin: Client) -> None:
    seed_shop()
    answers = {url: admin.get(url) for url in ANSWERS}

    assert {url: answer.status_code for url, answer in answers.items()} == ANSWERS
    assert {answer["Content-Security-Policy"] for answer in answers.values()} == {POLICY}
    pages = {url: answer for url, answer in answers.items() if answer["Content-Type"].startswith("text/html")}
    assert len(pages) > 15
    assert {url: found for url, page in pages.items() if (found := find_inline(page))} == {}


def test_every_page_of_a_saga_has_the_policy_and_nothing_inline(admin: Client) -> None:
    saga = trips.make_compensation_failing()
    for url in ("change/", "act/retry/", "act/abandon/", "act/mark-compensated/?step=book_flight", "act/nonsense/"):
        response = admin.get(f"/admin/sagas/saga/{saga.pk}/{url}")

        assert response["Content-Security-Policy"] == POLICY
        assert find_inline(response) == []


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Host": "a b"}])
def test_response_to_a_forged_host_has_the_policy(headers: dict[str, str]) -> None:
    response = Client(headers=headers).get("/admin/")

    assert (response.status_code, response["Content-Security-Policy"]) == (400, POLICY)


def test_response_to_a_missing_csrf_token_has_the_policy() -> None:
    response = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "a", "password": "b"})

    assert (response.status_code, response["Content-Security-Policy"]) == (403, POLICY)
    assert "Nothing was done." in response.content.decode()
    assert find_inline(response) == []


def test_documentation_page_also_allows_icons_from_its_style_sheet() -> None:
    response = Client().get("/api/docs/")

    assert POLICY.replace("img-src 'self'", "img-src 'self' data:") == POLICY_OF_DOCS
    assert (response.status_code, response["Content-Security-Policy"]) == (200, POLICY_OF_DOCS)
    assert find_inline(response) == []


@override_settings(ROOT_URLCONF="tests.api.test_headers")
def test_view_may_be_stricter() -> None:
    assert Client().get("/own/")["Content-Security-Policy"] == "default-src 'none'"


@override_settings(ROOT_URLCONF="tests.api.test_headers", DEBUG=True)
def test_debug_error_pages_are_left_to_django(admin: Client) -> None:
    assert "Content-Security-Policy" not in admin.get("/admin/broken/")
    assert admin.get("/admin/")["Content-Security-Policy"] == POLICY


@pytest.mark.parametrize(
    "html", ["<style>b{}</style>", "<b style=''>", "<b onclick='x'>", "<a href=' javascript:x'>", "<script>x</script>"]
)
def test_finder_finds_inline_code(html: str) -> None:
    assert len(find_inline(HttpResponse(html))) == 1
