"""Project below a URL prefix, set by a front server or FORCE_SCRIPT_NAME."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import get_script_prefix, set_script_prefix

from sagas.models import Saga, SagaBulk

from .crawling import Reader, crawl, strays
from .pages import LogIn, text_of
from .test_sites import act_everywhere, saga

__all__ = ["saga"]
pytestmark = pytest.mark.django_db

PREFIX = "/shop"


@pytest.fixture(params=["FORCE_SCRIPT_NAME", "SCRIPT_NAME of the server"])
def enter(request: Any, log_in: LogIn) -> Iterator[Below]:
    """Return a browser that reaches the project below the prefix."""
    before = get_script_prefix()
    client = log_in("admin")
    # The project's WSGI application does this with each request, but the test client does not.
    set_script_prefix(f"{PREFIX}/")
    if request.param == "FORCE_SCRIPT_NAME":
        with override_settings(FORCE_SCRIPT_NAME=PREFIX):
            yield Below(client)
    else:
        client.defaults["SCRIPT_NAME"] = PREFIX
        yield Below(client)
    set_script_prefix(before)


class Below:
    """Client whose URLs begin with the prefix, which the server strips before the project sees them."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, url: str, *args: Any, **extra: Any) -> Any:
        return self.client.get(self._inside(url), *args, **extra)

    def post(self, url: str, *args: Any, **extra: Any) -> Any:
        return self.client.post(self._inside(url), *args, **extra)

    def _inside(self, url: str) -> str:
        assert url.startswith(f"{PREFIX}/"), f"{url} leads out of the project"
        return url.removeprefix(PREFIX)


def test_every_page_is_reachable_and_links_stay_below_the_prefix(enter: Any, saga: Saga) -> None:
    found = crawl(enter, f"{PREFIX}/admin/sagas/")

    assert strays(found, f"{PREFIX}/admin/", home=PREFIX) == set()
    assert {url: status for url, (status, _) in found.items() if status not in (200, 302)} == {}
    assert f"{PREFIX}/admin/sagas/saga/{saga.pk}/change/" in found
    assert f"{PREFIX}/admin/sagas/saga/refresh/" in found


def test_every_operation_redirects_below_the_prefix(enter: Any, saga: Saga) -> None:
    answers = act_everywhere(enter, saga, f"{PREFIX}/admin/")

    assert [answer.status_code for answer in answers] == [
        302, 400, 302, 302, 302, 400, 302, 302, 200, 302, 400, 302, 200, 400, 302,
        302, 302, 302, 400, 302, 302, 302,
    ]  # fmt: skip
    led_to = [answer["Location"] for answer in answers if answer.status_code == 302]
    assert [address for address in led_to if not address.startswith(f"{PREFIX}/admin/sagas/")] == []


def test_refreshed_list_keeps_the_urls_of_its_page(enter: Any, saga: Saga) -> None:
    list_url = f"{PREFIX}/admin/sagas/saga/"
    page = Reader(text_of(enter.get(f"{list_url}?q=ORD-1")))
    (refresh,) = page.list_addresses("data-url")
    answer = enter.get(f"{refresh}?q=ORD-1")

    assert answer.status_code == 200
    parts = "".join(answer.json()["parts"].values())
    assert f'href="{list_url}{saga.pk}/change/?_changelist_filters=q%3DORD-1"' in parts
    assert set(Reader(parts).list_addresses("href")) <= set(page.list_addresses("href"))


def test_api_links_carry_the_prefix(enter: Any, saga: Saga) -> None:
    body = {"operation": "pause", "sagas": [str(saga.pk)]}
    answer = enter.post(f"{PREFIX}/api/v1/sagas/bulks/", body, content_type="application/json")

    assert (answer.status_code, answer["Location"]) == (
        201, f"{PREFIX}/api/v1/sagas/bulks/{SagaBulk.objects.latest('frozen_at').pk}/",
    )  # fmt: skip
