"""Site navigation: every entry point ends on an existing page."""

import re

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.test import Client
from django.urls import reverse

pytestmark = pytest.mark.django_db

FOREIGN = [
    "https://evil.example/", "//evil.example/", "///evil.example/", "https:evil.example", "javascript:alert(1)",
    "/\\evil.example", "http://testserver:81/admin/", "\x00", "",
]  # fmt: skip


@pytest.fixture
def admin_user() -> User:
    return User.objects.create_superuser("root", password="root")


@pytest.mark.parametrize("where", ["form", "address"])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_login_does_not_redirect_to_another_host(admin_user: User, foreign: str, where: str) -> None:
    form = {"username": "root", "password": "root", **({"next": foreign} if where == "form" else {})}
    query = {"next": foreign} if where == "address" else {}
    response = Client().post(reverse("admin:login", query=query), form, follow=True)

    assert (response.status_code, response.request["PATH_INFO"]) == (200, "/admin/")


@pytest.mark.parametrize("path", ["/admin/sagas/saga/", "/admin/orders/order/"])
def test_login_redirects_to_the_requested_page(admin_user: User, path: str) -> None:
    client = Client()
    page = client.get(path, follow=True)
    response = client.post(page.redirect_chain[-1][0], {"username": "root", "password": "root"}, follow=True)

    assert page.request["PATH_INFO"] == "/admin/login/"
    assert (response.status_code, response.request["PATH_INFO"]) == (200, path)


def test_logged_in_user_is_redirected_to_the_index(admin_user: User) -> None:
    client = Client()
    client.force_login(admin_user)
    response = client.get(reverse("admin:login", query={"next": "https://evil.example/"}), follow=True)

    assert (response.status_code, response.request["PATH_INFO"]) == (200, "/admin/")


def test_login_redirect_points_to_an_existing_page() -> None:
    response = Client().get(redirect_to_login("/admin/sagas/saga/").url)

    assert (response.status_code, settings.LOGIN_URL) == (200, "admin:login")


def test_view_site_links_to_an_existing_page(admin_user: User) -> None:
    client = Client()
    client.force_login(admin_user)
    [site] = re.findall(r'<a href="([^"]*)">View site</a>', client.get("/admin/").content.decode())
    response = client.get(site, follow=True)

    assert (site, response.status_code, response.request["PATH_INFO"]) == ("/", 200, "/api/docs/")


def test_favicon_exists() -> None:
    response = Client().get("/favicon.ico", follow=True)

    assert (response.status_code, response.request["PATH_INFO"]) == (200, "/static/orders/favicon.ico")
    assert b"".join(response.streaming_content).startswith(b"\x00\x00\x01\x00")
