"""Look at the pages about many sagas in a real browser: light and dark, wide and narrow, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from sagas import operations
from sagas.models import Saga
from sagas.testing import faults
from sagas.testing.drain import look
from tests.admin import trips

from .conftest import Visitor

Visit = Callable[..., Visitor]
SCREENSHOTS = Path(__file__).resolve().parents[2] / "var" / "screenshots"
WIDE, NARROW = {"width": 1360, "height": 900}, {"width": 400, "height": 800}
REASON = "The airline is open again, see ticket 42."


def make_a_night() -> Saga:
    """Make one saga of each kind, some failures of a few kinds, and two people at work."""
    sagas = {name: maker() for name, maker in trips.MAKERS.items()}
    for number in range(12):
        with faults() as fault:
            error = ConnectionError(f"No answer from 10.0.0.{number}:5432 after {number}.5 s; tried 'main' and 'spare'")
            fault.refuse("book_hotel", error if number % 3 else RuntimeError("The lift is out of order."))
            look(trips.start().pk)
    for name in ("held_unknown", "compensation_failing", "retries_exhausted"):
        operations.pause(sagas[name].pk, actor=trips.BOSS, reason="Wait for the call of the bank, ticket 4711.")
        operations.resume(sagas[name].pk, actor=trips.Actor(name="operator", is_trusted=True), reason=REASON)
    return sagas["compensation_failing"]


PAGES = {
    "overview-dashboard": "",
    "overview-list": "saga/?attempts=2&closed=no",
    "overview-failures": "saga/failures/",
    "overview-log": "saga/log/",
}


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_look_sound(visit: Visit, scheme: str, size: dict[str, int]) -> None:
    make_a_night()
    visitor = visit(color_scheme=scheme, viewport=size)
    visitor.log_in("admin")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    for name, path in PAGES.items():
        visitor.open(f"/admin/sagas/{path}")
        visitor.page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{size['width']}.png", full_page=True)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
        background = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[scheme]


@pytest.mark.parametrize("has_scripts", [True, False])
def test_from_the_dashboard_to_what_needs_a_person(visit: Visit, has_scripts: bool) -> None:
    make_a_night()
    visitor = visit(java_script_enabled=has_scripts)
    page = visitor.page
    visitor.log_in("viewer")
    visitor.open("/admin/sagas/")

    expect(page.get_by_role("alert").first).to_contain_text("No worker was seen lately.")
    page.get_by_role("link", name="Needs a person 8").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(8)


@pytest.mark.parametrize("has_scripts", [True, False])
def test_from_a_failure_group_to_its_sagas_and_back(visit: Visit, has_scripts: bool) -> None:
    make_a_night()
    visitor = visit(java_script_enabled=has_scripts)
    page = visitor.page
    visitor.log_in("operator")
    visitor.open("/admin/sagas/saga/failures/")

    row = page.get_by_role("row").filter(has_text="ConnectionError")
    row.get_by_role("link", name="8 open").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(8)
    page.get_by_role("link", name=re.compile("^Still open")).first.click()
    page.go_back()
    page.reload()
    expect(page.locator("#result_list tbody tr")).to_have_count(8)


@pytest.mark.parametrize("has_scripts", [True, False])
def test_list_is_narrowed_to_a_window_of_time(visit: Visit, has_scripts: bool) -> None:
    make_a_night()
    visitor = visit(java_script_enabled=has_scripts)
    page = visitor.page
    visitor.log_in("viewer")
    page.locator("summary", has_text="By start between (UTC)").click()

    page.get_by_label("From (UTC)").fill("2020-01-01T00:00:00")
    page.get_by_label("To (UTC)").fill("2020-01-02T00:00:00")
    page.get_by_role("button", name="Show").click()

    expect(page.get_by_text("0 sagas")).to_be_visible()
    page.get_by_role("link", name="Any time").click()
    expect(page.locator("#result_list tbody tr").first).to_be_visible()


@pytest.mark.parametrize("has_scripts", [True, False])
def test_log_is_narrowed_and_verified(visit: Visit, has_scripts: bool) -> None:
    make_a_night()
    visitor = visit(java_script_enabled=has_scripts)
    page = visitor.page
    visitor.log_in("viewer")
    visitor.open("/admin/sagas/saga/log/")

    page.get_by_label("Action").select_option("resume")
    page.get_by_label("Time").select_option("24h")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("section[aria-labelledby=deeds] tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Verify this window").click()

    expect(page.get_by_role("status", name="Verification")).to_contain_text("What was looked at fits its seals.")
    expect(page.locator("section[aria-labelledby=deeds] tbody tr")).to_have_count(3)
