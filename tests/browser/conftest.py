"""Fixtures: Chromium, the project under its own strict policy, and users to log in as."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

# Playwright keeps an event loop in this thread, which Django mistakes for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

# The shell is the same engine without a desktop around it; it opens pages with a third of the work.
BROWSER_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
LIST = "/admin/sagas/saga/"
# A machine that is busy with other tests responds late.
expect.set_options(timeout=20_000)


@dataclass
class Visitor:
    """User at a browser, with the browser's complaints.

    page: the tab. address: of the web server. complaints: console, script and loading errors.
    """

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Record the browser's complaints."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._check_policy)

    def _on_console(self, message: ConsoleMessage) -> None:
        # An error status of a page is a response here, not an error.
        is_refusal = "the server responded with a status of 4" in message.text
        if message.type in ("error", "warning") and not is_refusal:
            self.complaints.append(message.text)

    def _on_failure(self, request: Request) -> None:
        # Leaving a page before it is complete aborts what is still loading.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.url}: {request.failure}")

    def _check_policy(self, response: Response) -> None:
        # Violations of the policy are console errors, but a missing policy has none.
        if response.request.resource_type == "document" and "script-src 'self';" not in response.headers.get(
            "content-security-policy", ""
        ):
            self.complaints.append(f"{response.url} has no strict policy.")

    def open(self, path: str) -> None:
        """Open a page of the project."""
        self.page.goto(f"{self.address}{path}")

    def log_in(self, name: str, path: str = LIST) -> None:
        """Put a user's session into the browser and open a page; the login form has its own test."""
        client = Client()
        client.force_login(User.objects.get(username=name))
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        self.page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": self.address}])
        self.open(path)

    def find(self, text: str) -> None:
        """Search for a saga and open the first result."""
        self.page.get_by_role("searchbox", name="Find").fill(text)
        self.page.get_by_role("button", name="Search").click()
        self.page.locator("#result_list tbody th a").first.click()


Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run one Chromium for the session."""
    path = next((found for name in BROWSER_NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("There is no Chromium. On Debian: apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def users(transactional_db: None) -> dict[str, User]:
    """Create one user of each role."""
    found = {}
    for name, group in (("viewer", "Saga viewers"), ("operator", "Saga operators"), ("supervisor", "Saga supervisors")):
        found[name] = User.objects.create_user(name, is_staff=True)
        found[name].groups.add(Group.objects.get(name=group))
    found["admin"] = User.objects.create_superuser("admin")
    return found


@pytest.fixture
def visit(browser: Browser, live_server: Any, users: dict[str, User]) -> Iterator[Visit]:
    """Open tabs, each with its own session, most of a user who logs in; at the end none of them may have complained."""
    opened: list[tuple[BrowserContext, Visitor]] = []

    def open_tab(user: str = "", path: str = LIST, **options: Any) -> Visitor:
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        visitor = Visitor(page=context.new_page(), address=live_server.url)
        visitor.watch()
        opened.append((context, visitor))
        if user:
            visitor.log_in(user, path)
        return visitor

    yield open_tab
    complaints = [complaint for _, visitor in opened for complaint in visitor.complaints]
    for context, _ in opened:
        context.close()
    assert complaints == []
