"""Pages about many sagas in a real browser, with and without scripts."""

import re

import pytest
from playwright.sync_api import expect

from .conftest import Visit
from .scenes import make_a_night

pytestmark = pytest.mark.parametrize("has_scripts", [True, False])


def test_from_the_dashboard_to_the_sagas_that_need_attention(visit: Visit, has_scripts: bool) -> None:
    make_a_night()
    page = visit("viewer", "/admin/sagas/", java_script_enabled=has_scripts).page

    expect(page.get_by_role("alert").first).to_contain_text("No worker was seen recently.")
    page.locator("#content").get_by_role("link", name="Needs attention 8").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(8)


def test_from_a_failure_group_to_its_sagas_and_back(visit: Visit, has_scripts: bool) -> None:
    make_a_night()
    page = visit("operator", "/admin/sagas/saga/failures/", java_script_enabled=has_scripts).page

    row = page.get_by_role("row").filter(has_text="ConnectionError")
    row.get_by_role("link", name="8 open").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(8)
    page.get_by_role("link", name=re.compile("^Still open")).first.click()
    page.go_back()
    page.reload()
    expect(page.locator("#result_list tbody tr")).to_have_count(8)


def test_list_is_filtered_by_a_time_window(visit: Visit, has_scripts: bool) -> None:
    make_a_night()
    page = visit("viewer", java_script_enabled=has_scripts).page
    page.locator("summary", has_text="Filter").click()
    page.locator("summary", has_text="By start between (UTC)").click()

    page.get_by_label("From (UTC)").fill("2020-01-01T00:00:00")
    page.get_by_label("To (UTC)").fill("2020-01-02T00:00:00")
    page.get_by_role("button", name="Show").click()

    expect(page.get_by_text("0 sagas")).to_be_visible()
    page.get_by_role("link", name="Any time").click()
    expect(page.locator("#result_list tbody tr").first).to_be_visible()


def test_log_is_filtered_and_verified(visit: Visit, has_scripts: bool) -> None:
    make_a_night()
    page = visit("viewer", "/admin/sagas/saga/log/", java_script_enabled=has_scripts).page

    page.get_by_label("Operation", exact=True).select_option("resume")
    page.get_by_label("Time").select_option("24h")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("section[aria-labelledby=operations] tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Verify this window").click()

    expect(page.get_by_role("status", name="Verification")).to_contain_text("All checked entries are intact.")
    expect(page.locator("section[aria-labelledby=operations] tbody tr")).to_have_count(3)
