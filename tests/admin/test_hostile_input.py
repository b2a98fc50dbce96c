"""Hostile input to every admin page, method and role: no failure, no change, no script.

The pages are collected from the admin itself, so new pages are covered.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver

from inventory.models import StockItem
from inventory.services import ensure_stock
from orders.models import Product
from sagas.models import Saga, SagaBarrier, SagaBulk, SagaView
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation

from . import trips
from .pages import LIST, LogIn, action_of, form_of, stored

pytestmark = pytest.mark.django_db

PEOPLE = ("anonymous", "staff", "viewer", "operator", "supervisor", "admin")
HOSTILE = "<script>alert(1)</script>'\"--;{{7*7}}{% debug %}<img src=x onerror=alert(2)>"
IDS = [
    "0", "-1", "9" * 30, "x", "None", "%00", "%ED%A0%80", "%FF", "%C3%A9", "..", "%2E%2E%2F", "<b>", "1;DROP TABLE x",
    "'--", "{{7*7}}", "_5Fx", "a" * 3000, str(UUID(int=0)), "1_quot_", "1%0d%0aX: y",
]  # fmt: skip
QUERIES = [
    "p=0", "p=-1", "p=x", f"p={'9' * 40}", "p=1.5", "all=", "o=99.-1", "o=x", "_popup=1", "_to_field=password", "e=1",
    f"q={quote(HOSTILE)}", "q=%00", "q=%ED%A0%80", "q=" + "x" * 4000, "q=%25%27", "pk__in=1,2", "input__contains=x",
    "saga__input=1", "id__exact=x", "definition=%00", "display=nonsense", "version=x", "state__exact=<b>", "group=%27",
    "attempts_before=x", f"history_before={'9' * 40}", "tab=nonsense", "step=%00", "only=x", "since=x",
    "from=99999-01-01",
    "attempts=-1", "operated=x", "closed=maybe", "window=0", "database=default%27", "actor=%00", "&=&&==", "q=a&q=b",
]  # fmt: skip
# Tables of accesses and statistics; everything else must not change.
MAY_CHANGE = {"django_session", "sagas_sagaaccess", "sagas_sagastatistic", "orders_throttlebucket"}


@pytest.fixture
def things() -> dict[str, Any]:
    """Create one row of everything that has a page, with hostile text in every free field."""
    ensure_stock("TEA", 5)
    Product.objects.create(sku="TEA", name=HOSTILE, unit_price_minor=5, currency="EUR")
    error = trips.RetryLater(HOSTILE, after=3000)
    saga = trips.make_refused("book_hotel", error, order=HOSTILE[:60], customer=HOSTILE[:100])
    operations.pause(saga.pk, actor=trips.BOSS, reason=f"Because of {HOSTILE}")
    operations.resume(saga.pk, actor=trips.BOSS, reason=f"Because of {HOSTILE}")
    SagaBarrier.objects.create(
        key=f"{saga.pk}:{HOSTILE}"[:120], direction="action", state="done", result={"x": HOSTILE},
        created_at=saga.created_at, finished_at=saga.created_at,
    )  # fmt: skip
    frozen = freezing.freeze_selected(Operation.RETRY, [saga.pk], actor=Actor(name=HOSTILE[:60], is_trusted=True))
    view = SagaView.objects.create(
        owner=HOSTILE, owner_id="0", name=HOSTILE[:60], query=urlencode({"search": HOSTILE}), is_shared=True,
        created_at=saga.created_at,
    )  # fmt: skip
    return {"saga": saga, "bulk": frozen, "view": view}


def list_routes(patterns: Any = None, prefix: str = "/admin/") -> Iterator[str]:
    """Return the route of every page of the admin."""
    for pattern in admin.site.get_urls() if patterns is None else patterns:
        route = prefix + str(pattern.pattern).lstrip("^").rstrip("$").removesuffix("\\Z")
        if isinstance(pattern, URLResolver):
            yield from list_routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def name_in(route: str) -> str:
    """Return a name that the route has: of a definition, or of a remedy."""
    return "trip" if "definitions/" in route else "ask_hotel"


def fill(route: str, things: dict[str, Any], object_id: str | None = None) -> str:
    """Return the URL of a route: of an existing row, or with the given id."""
    if "(?P<" in route:
        return "/admin/sagas/" if "app_label" in route else "/admin/nothing/"
    known = {
        "saga_id": str(things["saga"].pk), "bulk_id": str(things["bulk"].pk), "code": "retry", "form": "csv",
        "content_type_id": "1", "object_id": find_id(route, things), "id": "1", "app_label": "sagas",
        "name": name_in(route), "version": "3", "view_id": str(things["view"].pk), "step": "book_hotel",
        "key": "0123456789abcdef",
    }  # fmt: skip
    if object_id is not None:
        known |= dict.fromkeys(
            ("object_id", "view_id", "code", "form", "content_type_id", "id", "step", "name", "key"), object_id
        )
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: known[match[1]], route)


def find_id(route: str, things: dict[str, Any]) -> str:
    found = {
        "/admin/sagas/saga/": Saga, "/admin/sagas/sagabarrier/": SagaBarrier, "/admin/sagas/sagabulk/": SagaBulk,
        "/admin/orders/product/": Product, "/admin/inventory/stockitem/": StockItem, "/admin/auth/user/": User,
        "/admin/auth/group/": Group,
    }  # fmt: skip
    model = next((model for prefix, model in found.items() if route.startswith(prefix)), None)
    row = model._default_manager.order_by("pk").first() if model else None
    return str(row.pk) if row is not None else "1"


def read_all() -> dict[str, str]:
    """Return a digest of every table that must not change."""
    digests = {}
    for alias in connections:
        with connections[alias].cursor() as cursor:
            for table in sorted(set(connections[alias].introspection.table_names(cursor)) - MAY_CHANGE):
                cursor.execute(f'SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM "{table}" AS t')  # noqa: S608
                digests[f"{alias}.{table}"] = cursor.fetchone()[0]
    return digests


def text_of(response: HttpResponse) -> str:
    body = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]
    return str(body.decode(errors="replace"))


def find_fault(response: HttpResponse) -> str:
    """Return what is wrong with a response, or an empty string."""
    text = text_of(response)
    if response.status_code >= 500:
        return f"status {response.status_code}"
    is_page = response.get("Content-Type", "").startswith("text/html")
    if is_page and ("<script>alert" in text or "<img src=x" in text or "49{%" in text):
        return "hostile text is not escaped"
    if "Traceback (most recent" in text or 'File "/' in text:
        return "a traceback"
    return ""


def enter(log_in: LogIn, name: str, **options: bool) -> Client:
    client = log_in(name, **options)
    client.raise_request_exception = False
    return client


def list_urls(things: dict[str, Any]) -> list[str]:
    return sorted({fill(route, things) for route in list_routes()} - {"/admin/logout/"})


def test_all_pages_are_found(things: dict[str, Any]) -> None:
    urls = list_urls(things)

    saga = things["saga"].pk
    assert {
        "/admin/", LIST, f"{LIST}{saga}/change/", f"{LIST}{saga}/act/retry/", f"{LIST}{saga}/bundle/", f"{LIST}log/",
        "/admin/sagas/sagabulk/new/", "/admin/orders/product/", "/admin/auth/user/add/", "/admin/sagas/sagaaccess/",
    } <= set(urls)  # fmt: skip
    assert len(urls) > 80


@pytest.mark.parametrize("person", PEOPLE)
def test_get_never_fails_and_never_changes_anything(log_in: LogIn, things: dict[str, Any], person: str) -> None:
    client = enter(log_in, person)
    before = read_all()
    faults, answers = {}, {}
    for url in list_urls(things):
        response = client.get(url)
        answers[url] = response.status_code
        if fault := find_fault(response):
            faults[url] = fault

    assert faults == {}
    assert read_all() == before
    if person == "anonymous":
        assert {status for url, status in answers.items() if url not in ("/admin/login/", "/admin/jsi18n/")} <= {
            302,
            404,
        }
    if person == "staff":
        assert {url for url, status in answers.items() if status == 200 and url.startswith("/admin/sagas/")} == set()


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options", "head"])
def test_no_other_method_fails_or_changes_anything(log_in: LogIn, things: dict[str, Any], method: str) -> None:
    clients = [enter(log_in, person) for person in PEOPLE]
    before = read_all()
    # Two of the users request each page, so that every pair of page and method is covered.
    asked = [(url, clients[-1]) for url in list_urls(things)]
    asked += [(url, clients[place % (len(clients) - 1)]) for place, (url, _) in enumerate(asked)]
    faults = {url: fault for url, client in asked if (fault := find_fault(getattr(client, method)(url)))}

    assert faults == {}
    assert read_all() == before


@pytest.mark.parametrize("person", ["anonymous", "viewer", "admin"])
def test_form_without_csrf_token_does_nothing(log_in: LogIn, things: dict[str, Any], person: str) -> None:
    client = enter(log_in, person, enforce_csrf_checks=True)
    saga, before = things["saga"], read_all()
    body = {**form_of(saga), "post": "yes", "action": "delete_selected", "count": "1", "words": "every open saga"}
    answers = {url: client.post(url, body) for url in list_urls(things)}

    assert {url: answer.status_code for url, answer in answers.items() if answer.status_code not in (302, 403)} == {}
    assert read_all() == before


def test_invalid_ids_find_nothing(log_in: LogIn, things: dict[str, Any]) -> None:
    client = enter(log_in, "admin")
    before, faults = read_all(), {}
    routes = [
        route for route in list_routes() if re.search(r"<(path|slug|str|int):|<\w+>", route) and "(?P<" not in route
    ]
    assert len(routes) > 20
    for route in routes:
        for bad in IDS if route.startswith(LIST) else IDS[::4]:
            url = fill(route, things, bad)
            if fault := find_fault(client.get(url)):
                faults[url[:120]] = fault

    assert faults == {}
    assert read_all() == before


def test_malformed_queries_reveal_nothing(log_in: LogIn, things: dict[str, Any]) -> None:
    client = enter(log_in, "admin")
    before, faults = read_all(), {}
    pages = [url for url in list_urls(things) if url.startswith("/admin/sagas/") and "/add/" not in url]
    others = [
        "/admin/orders/order/",
        "/admin/payments/payment/",
        "/admin/inventory/stockitem/",
        "/admin/shipping/shipment/",
    ]
    for place, url in enumerate([*pages, *others]):
        for query in QUERIES if url == LIST else QUERIES[place % 8 :: 8]:
            if fault := find_fault(client.get(f"{url}?{query}")):
                faults[f"{url}?{query}"[:160]] = fault

    assert faults == {}
    assert read_all() == before


WRONG_FORMS: dict[str, dict[str, Any]] = {
    "no reason": {"reason": ""},
    "a short reason": {"reason": "short"},
    "a long reason": {"reason": "x" * 501},
    "a huge reason": {"reason": "x" * 100_000},
    "a reason with NUL": {"reason": "because \x00 of it, you see"},
    "blanks for a reason": {"reason": " " * 40},
    "no revision": {"revision": ""},
    "a stale revision": {"revision": 1},
    "a future revision": {"revision": 10**9},
    "a huge revision": {"revision": "9" * 50},
    "a text for a revision": {"revision": HOSTILE},
    "another script's digits": {"revision": "\u0663"},
    "a wrong seen": {"seen": HOSTILE},
    "a negative seen": {"seen": -5},
    "an unknown step": {"step": HOSTILE},
    "a step with NUL": {"step": "\x00"},
    "a wrong result": {"result": "{"},
    "a result that is no object": {"result": "[1]"},
    "a result with NaN": {"result": '{"a": NaN}'},
    "a deep result": {"result": "[" * 5000},
}
BARREN = {"an unknown step", "a step with NUL", "a wrong seen", "a negative seen", "a wrong result",
          "a result that is no object", "a result with NaN", "a deep result"}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_FORMS)
def test_invalid_form_does_nothing(log_in: LogIn, case: str) -> None:
    client = enter(log_in, "admin")
    saga = trips.make_held_unknown()
    before = stored(saga)
    for operation in Operation:
        steps = {"step": "pay"} if operation.value.startswith(("mark", "skip")) else {}
        body = form_of(saga, evidence="The bank's own page shows it.", **steps) | WRONG_FORMS[case]
        if case in BARREN:
            body["reason"] = ""  # fields that an operation does not use may hold anything, but do nothing on their own
        response = client.post(action_of(saga, operation), body)

        assert find_fault(response) == "", operation
        assert response.status_code in (400, 403, 409), operation
    assert stored(saga) == before


@pytest.mark.parametrize("person", ["anonymous", "staff", "viewer"])
@pytest.mark.parametrize("operation", Operation)
def test_no_form_works_without_the_permission(log_in: LogIn, person: str, operation: Operation) -> None:
    saga = trips.make_held_unknown()
    before = stored(saga)
    body = form_of(saga, step="pay", evidence="The bank's own page shows it.", is_superuser="1", actor="admin")
    response = enter(log_in, person).post(action_of(saga, operation), body)

    assert response.status_code in (302, 403)
    assert find_fault(response) == ""
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_nothing_is_done_by_get(log_in: LogIn, operation: Operation) -> None:
    saga = trips.make_held_unknown()
    before = stored(saga)
    query = "&".join(
        f"{name}={quote(str(value))}" for name, value in form_of(saga, step="pay", evidence="x" * 20).items()
    )
    response = enter(log_in, "admin").get(f"{action_of(saga, operation)}?{query}")

    assert response.status_code in (200, 400, 409)
    assert stored(saga) == before


def test_revoked_permissions_take_effect_at_once(log_in: LogIn) -> None:
    client, saga = enter(log_in, "operator"), trips.make_waiting_for_retry()
    before = stored(saga)
    User.objects.get(username="operator").groups.clear()
    assert client.post(action_of(saga, Operation.RETRY), form_of(saga)).status_code == 403
    User.objects.filter(username="operator").update(is_active=False)
    assert client.post(action_of(saga, Operation.RETRY), form_of(saga)).status_code == 302
    assert stored(saga) == before


def test_checks_detect_a_change_and_a_failure(things: dict[str, Any]) -> None:
    before = read_all()
    Product.objects.update(unit_price_minor=6)

    assert {name for name, digest in read_all().items() if digest != before[name]} == {"default.orders_product"}
    assert find_fault(HttpResponse(status=500)) == "status 500"
    assert find_fault(HttpResponse(HOSTILE)) == "hostile text is not escaped"
    assert find_fault(HttpResponse('File "/srv/x.py", line 1', content_type="text/plain")) == "a traceback"
    assert find_fault(HttpResponse("fine")) == ""
