"""Console in a browser, in a project whose admin is django-unfold's: pages open and operations work."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from config.local.children import start_guarded, wait_until_ready
from config.local.valkey import keep_free_port
from tests.other_projects.settings_table import BY_NAME
from tests.other_projects.testbed import Databases, Testbed

from .inspection import keep_picture

UNFOLD = BY_NAME["unfold"]
REASON = "The bank is open again, see its page."
WIDE = {"width": 1440, "height": 900}


@dataclass(frozen=True, kw_only=True)
class Harbour:
    """Other project behind a web server.

    address: of the server. sagas: ids, the completed one first. testbed, databases: to let sagas run.
    """

    address: str
    operator: str
    sagas: list[str]
    testbed: Testbed
    databases: Databases

    def settle(self) -> None:
        """Sweep until nothing is due."""
        for _ in range(3):
            self.testbed.run(UNFOLD, self.databases, "manage.py", "saga_sweep", "--run")

    def list_states(self) -> dict[str, str]:
        """Return the state of every saga by its id."""
        listed = json.loads(self.testbed.run(UNFOLD, self.databases, "manage.py", "saga_list", "--json"))
        return {saga["id"]: saga["state"] for saga in listed}


@pytest.fixture(scope="module")
def harbour(testbed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """Serve the project with django-unfold and some sagas."""
    with testbed.databases(UNFOLD) as databases:
        scene: Any = testbed.drive(UNFOLD, databases, "set_the_scene")["set_the_scene"]
        port = keep_free_port()
        server = start_guarded(
            "web",
            [testbed.pythons["psycopg"], "manage.py", "runserver", "--noreload", "--insecure", f"127.0.0.1:{port}"],
            log=tmp_path_factory.mktemp("unfold") / "web.log",
            environment=testbed.environment(UNFOLD, databases),
            directory=testbed.directory,
        )
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(server, lambda: answers(f"{address}/admin/login/"), timeout_seconds=90)
        yield Harbour(address=address, operator=scene[0], sagas=scene[1], testbed=testbed, databases=databases)
        server.stop()


@pytest.fixture
def page(browser: Browser, harbour: Harbour) -> Iterator[Page]:
    """Open a tab and log in by the form; no error may occur in it."""
    complaints: list[str] = []
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on(
        "console", lambda said: complaints.append(f"{said.location['url']}: {said.text}") if is_fault(said) else None
    )
    page.on("response", lambda got: complaints.append(f"{got.url}: {got.status}") if got.status >= 400 else None)
    page.goto(f"{harbour.address}/admin/login/?next=/admin/sagas/saga/")
    page.locator("input[name=username]").fill(harbour.operator)
    page.locator("input[name=password]").fill("operator")
    page.locator("form button[type=submit]").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(len(harbour.sagas))
    yield page
    context.close()
    assert complaints == []


def is_fault(said: ConsoleMessage) -> bool:
    """Return whether the browser complains; a missing icon is the project's own affair."""
    return said.type == "error" and not said.location["url"].endswith("/favicon.ico")


def answers(url: str) -> bool:
    """Return whether a page opens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own server
            return response.status == 200
    except OSError:
        return False


def test_pages_open(harbour: Harbour, page: Page) -> None:
    saga = f"/admin/sagas/saga/{harbour.sagas[1]}"
    pages = {
        "list": "/admin/sagas/saga/",
        "overview": "/admin/sagas/",
        "failures": "/admin/sagas/saga/failures/",
        "log": "/admin/sagas/saga/log/",
        "bulks": "/admin/sagas/sagabulk/",
        "graph": f"{saga}/change/?tab=graph",
        "timeline": f"{saga}/change/?tab=timeline",
        "steps": f"{saga}/change/?tab=steps",
        "history": f"{saga}/change/?tab=history",
        "operation": f"{saga}/act/retry/",
    }
    for name, path in pages.items():
        response = page.goto(f"{harbour.address}{path}")
        assert response is not None
        assert response.status == 200, path
        keep_picture(page, f"unfold-{name}")
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{path} is {too_wide} px too wide"


def test_page_of_a_saga_leads_through_the_list(harbour: Harbour, page: Page) -> None:
    page.goto(f"{harbour.address}/admin/sagas/saga/{harbour.sagas[1]}/change/")

    expect(page.get_by_role("navigation", name="Sagas beside this one in its list")).to_have_count(1)


def test_saga_is_retried_from_its_page(harbour: Harbour, page: Page) -> None:
    saga_id = harbour.sagas[1]
    page.goto(f"{harbour.address}/admin/sagas/saga/{saga_id}/change/")
    page.locator(f"a[href*='{saga_id}/act/retry/']").first.click()
    page.locator("[name=reason]").fill(REASON)
    page.locator("form.saga-form button[type=submit]").click()

    expect(page.get_by_text("due now, with a fresh budget").first).to_be_visible()
    keep_picture(page, "unfold-retried")
    harbour.settle()
    assert harbour.list_states()[saga_id] == "completed"


def test_selected_sagas_are_retried_together(harbour: Harbour, page: Page) -> None:
    ticked = harbour.sagas[2:4]
    page.goto(f"{harbour.address}/admin/sagas/saga/")
    for saga_id in ticked:
        page.locator(f"input[name=_selected_action][value='{saga_id}']").check()
    page.locator("select[name=action]").select_option("retry")
    keep_picture(page, "unfold-ticked")
    page.get_by_role("button", name="Run").click()
    page.locator("[name=reason]").fill(REASON)
    keep_picture(page, "unfold-bulk")
    page.locator("form.saga-form button[type=submit]").click()

    expect(page.locator("progress")).to_have_attribute("max", "2")
    harbour.settle()
    page.goto(page.url.partition("?")[0])
    expect(page.locator("progress")).to_have_attribute("value", "2")
    keep_picture(page, "unfold-bulk-done")
    states = harbour.list_states()
    assert [states[saga_id] for saga_id in ticked] == ["completed", "completed"]
    assert states[harbour.sagas[4]] == "running"
