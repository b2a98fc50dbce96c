"""Custom admin sites: every link stays on its site."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.sites import DefaultAdminSite
from django.test import Client, override_settings
from django.urls import path

from sagas.admin import links
from sagas.models import Saga, SagaBulk, SagaView, SagaWorker
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation

from . import trips
from .crawling import Reader, crawl, strays
from .pages import REASON, LogIn, form_of, operations_of, text_of

pytestmark = pytest.mark.django_db

ALONE, BESIDE = "tests.admin.urls.alone", "tests.admin.urls.beside"
SITES = [
    pytest.param(ALONE, "/control/", id="alone"),
    pytest.param(BESIDE, "/ops/", id="beside"),
    pytest.param(BESIDE, "/deep/down/desk/", id="deeper"),
    pytest.param(BESIDE, "/admin/", id="the default among others"),
    pytest.param(BESIDE, "/alone/", id="sagas alone"),
    pytest.param(BESIDE, "/without/", id="without sagas"),
]


@pytest.fixture
def saga() -> Saga:
    """Return a saga with a history; create a running bulk, a frozen one, a worker and failures."""
    found = trips.make_refused("book_hotel", trips.RetryLater("The hotel does not answer.", after=3000), order="ORD-1")
    boss = Actor(name="admin", is_trusted=True)
    running = freezing.freeze_selected(Operation.PAUSE, [found.pk], actor=boss)
    freezing.start_bulk(running.pk, actor=boss, reason=REASON)
    freezing.freeze_selected(Operation.RETRY, [found.pk], actor=boss)
    operations.pause(found.pk, actor=trips.BOSS, reason=REASON)
    operations.resume(found.pk, actor=trips.BOSS, reason=REASON)
    SagaWorker.objects.create(
        name="host:1", host="host", pid=1234, queues=[], version="1", started_at=found.created_at,
        last_sweep_at=found.created_at, last_found=0,
    )  # fmt: skip
    return found


@pytest.mark.parametrize(("urls", "prefix"), SITES)
def test_every_link_stays_on_the_site(log_in: LogIn, saga: Saga, urls: str, prefix: str) -> None:
    with override_settings(ROOT_URLCONF=urls):
        found = crawl(log_in("admin"), prefix)

    assert strays(found, prefix) == set()
    assert {url: status for url, (status, _) in found.items() if status not in (200, 302)} == {}
    has_sagas = prefix != "/without/"
    assert (f"{prefix}sagas/saga/{saga.pk}/change/" in found) is has_sagas
    assert (f"{prefix}sagas/saga/refresh/" in found) is has_sagas


def act_everywhere(client: Client, saga: Saga, prefix: str) -> list[Any]:
    """Do everything on a site that redirects or returns a page of its own; return the responses in order."""
    sagas, bulks = f"{prefix}sagas/saga/", f"{prefix}sagas/sagabulk/"
    ticked = {"action": Operation.PAUSE.value, "index": "0", "_selected_action": [str(saga.pk)]}
    answers = [
        client.post(f"{sagas}{saga.pk}/act/pause/", form_of(saga)),
        client.post(f"{sagas}{saga.pk}/act/resume/", {**form_of(saga), "reason": "short"}),
        client.post(f"{sagas}{saga.pk}/act/resume/", form_of(saga)),
        client.get(f"{sagas}{saga.pk}/history/"),
        client.get(f"{sagas}{Saga().pk}/change/"),
        client.get(f"{sagas}?display=nonsense"),
        client.post(sagas, ticked),
        client.post(f"{sagas}?q={saga.pk}", {**ticked, "select_across": "1"}),
        client.post(f"{sagas}log/", {}),
        client.post(f"{sagas}{saga.pk}/notes/", {"seen": "0", "text": REASON}),
        client.post(f"{sagas}{saga.pk}/notes/", {"seen": "0", "text": ""}),
        client.post(f"{sagas}views/new/?q={saga.pk}", {"name": "Mine"}),
        client.get(f"{sagas}views/"),
        client.post(f"{sagas}views/{SagaView.objects.latest('pk').pk}/", {"name": ""}),
        client.post(f"{sagas}views/{SagaView.objects.latest('pk').pk}/delete/", {"name": "Mine"}),
        client.get(f"{bulks}{Saga().pk}/change/"),
        client.post(f"{bulks}new/?q={saga.pk}", {"operation": Operation.PAUSE.value}),
    ]
    frozen = SagaBulk.objects.latest("frozen_at")
    answers += [
        client.get(f"{bulks}{frozen.pk}/history/"),
        client.post(f"{bulks}{frozen.pk}/start/", {"reason": "short"}),
        client.post(f"{bulks}{frozen.pk}/start/", {"reason": REASON}),
        client.post(f"{bulks}{frozen.pk}/stop/", {"reason": ""}),
        client.post(f"{bulks}{frozen.pk}/stop/", {"reason": ""}),
    ]
    return answers


@pytest.mark.parametrize(("urls", "prefix"), SITES[:4])
def test_every_operation_stays_on_the_site(log_in: LogIn, saga: Saga, urls: str, prefix: str) -> None:
    with override_settings(ROOT_URLCONF=urls):
        answers = act_everywhere(log_in("admin"), saga, prefix)

    assert [answer.status_code for answer in answers] == [
        302, 400, 302, 302, 302, 400, 302, 302, 200, 302, 400, 302, 200, 400, 302,
        302, 302, 302, 400, 302, 302, 302,
    ]  # fmt: skip
    led_to = [answer["Location"] for answer in answers if answer.status_code == 302]
    assert [address for address in led_to if not address.startswith(prefix)] == []
    pages = [Reader(text_of(answer)) for answer in answers if answer.status_code != 302]
    links_of = {address for page in pages for address in page.list_addresses("href", "action", "data-url")}
    assert {address for address in links_of if address[0] == "/" and not address.startswith(prefix)} <= {"/"}
    assert [operation[0] for operation in operations_of(saga)][-2:] == ["pause", "resume"]


def test_refreshed_parts_stay_on_the_site(log_in: LogIn, saga: Saga) -> None:
    client = log_in("admin")
    with override_settings(ROOT_URLCONF=BESIDE):
        parts = "".join(client.get("/ops/sagas/saga/refresh/?needs=any&q=ORD-1").json()["parts"].values())
        page = text_of(client.get("/ops/sagas/saga/?q=ORD-1"))
        refreshed = text_of(client.get("/ops/sagas/saga/refresh/?q=ORD-1"))

    assert "/admin/" not in parts
    link = f"/ops/sagas/saga/{saga.pk}/change/?_changelist_filters=q%3DORD-1"
    assert link in page
    assert link in refreshed


def test_bulks_need_the_list_on_the_site(log_in: LogIn, saga: Saga) -> None:
    with override_settings(ROOT_URLCONF=BESIDE):
        answer = log_in("admin").get("/without/sagas/sagabulk/new/?needs=any")

    assert answer.status_code == 400
    assert "This site has no list of sagas" in text_of(answer)


def test_saga_links_to_pages_of_other_apps_on_its_site(log_in: LogIn, saga: Saga) -> None:
    client = log_in("admin")
    with override_settings(ROOT_URLCONF=BESIDE):
        desk = text_of(client.get(f"/deep/down/desk/sagas/saga/{saga.pk}/change/"))
        ops = text_of(client.get(f"/ops/sagas/saga/{saga.pk}/change/"))

    assert '<a href="/deep/down/desk/payments/payment/?q=ORD-1">Payment ORD-1</a>' in desk
    assert "Payment ORD-1" not in ops
    assert "See also" not in ops


def test_project_may_replace_the_default_site(log_in: LogIn, saga: Saga, monkeypatch: pytest.MonkeyPatch) -> None:
    own = DefaultAdminSite()
    monkeypatch.setattr(apps.get_app_config("admin"), "default_site", "tests.admin.urls.sites.BranchSite")
    for model, model_admin in admin.site._registry.items():
        own.register(model, type(model_admin))
    urls = type("Urls", (), {"urlpatterns": [path("branch/", own.urls)]})
    with override_settings(ROOT_URLCONF=urls):
        found = crawl(log_in("admin"), "/branch/sagas/")

    assert own.name == "branch"
    assert strays(found, "/branch/") == set()
    assert f"/branch/sagas/saga/{saga.pk}/change/" in found


def test_link_needs_a_url_or_a_page() -> None:
    with pytest.raises(ValueError, match="give only one of them"):
        links.Link(label="Order", url="/orders/", page="orders_order_changelist")
