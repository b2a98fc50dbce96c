"""Saga page in a browser: views and pictures, with and without JavaScript."""

import re

import pytest
from playwright.sync_api import expect

from sagas.admin.ui.page_selection import Tab
from sagas.core.definition import registry
from sagas.models import Saga
from tests.admin import trips

from .conftest import LIST, Visit
from .scenes import make_missing


def address_of(saga: Saga, tab: str = "") -> str:
    return f"/admin/sagas/saga/{saga.pk}/change/{'?' if tab else ''}{tab and f'tab={tab}'}"


@pytest.mark.parametrize("has_scripts", [True, False])
def test_selected_step_is_kept_in_all_views(visit: Visit, has_scripts: bool) -> None:
    saga = trips.make_compensation_failing()
    page = visit("operator", address_of(saga), java_script_enabled=has_scripts).page

    views = page.get_by_role("navigation", name="Views of this saga")
    expect(views.get_by_role("link", name="Timeline")).to_have_attribute("aria-current", "page")
    views.get_by_role("link", name="Graph").click()
    page.get_by_role("link", name="book_flight, compensatable: compensation failing").click()

    expect(views.get_by_role("link", name="Steps")).to_have_attribute("aria-current", "page")
    expect(page.locator("tr.saga-chosen")).to_contain_text("book_flight")
    views.get_by_role("link", name="Timeline").click()
    expect(page.locator("#content-main").get_by_role("table").get_by_role("rowheader")).to_have_text(
        ["book_flight"] * 11
    )
    views.get_by_role("link", name="History").click()
    page.get_by_role("link", name="failures", exact=True).click()
    cells = page.locator("#content-main").get_by_role("table").locator("tbody tr td:nth-child(4)")
    assert set(cells.all_inner_texts()) == {"book_flight"}
    page.get_by_role("link", name="Clear the selection").click()
    assert set(cells.all_inner_texts()) > {"book_flight"}


def test_pictures_need_no_inline_style(visit: Visit) -> None:
    saga = trips.make_compensation_failing()
    visitor = visit("viewer", color_scheme="dark")
    page = visitor.page

    for tab in (Tab.GRAPH, Tab.TIMELINE):
        visitor.open(address_of(saga, tab))
        fills = page.locator("svg .saga-tone-urgent rect, svg .saga-tone-waiting rect").evaluate_all(
            "all => [...new Set(all.map(one => getComputedStyle(one).fill))]"
        )
        assert fills
        assert set(fills) <= {"rgb(51, 25, 26)", "rgb(49, 38, 15)"}
    assert page.locator("svg style, svg [style], svg script").count() == 0


def test_page_of_a_missing_definition_offers_possible_operations(visit: Visit) -> None:
    saga = make_missing()
    visitor = visit("admin")
    page = visitor.page
    with registry.preserved():
        registry.forget("trip", 3)
        visitor.open(address_of(saga, Tab.GRAPH))

    expect(page.get_by_text("The code does not have trip, version 99")).to_be_visible()
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_role("link", name="Abandon")).to_be_visible()
    expect(page.get_by_role("link", name="book_hotel, compensatable")).to_be_visible()


@pytest.mark.parametrize("has_scripts", [True, False])
def test_links_lead_through_the_list(visit: Visit, has_scripts: bool) -> None:
    first, _, third = trips.make_paused(), trips.make_completed(), trips.make_paused()
    page = visit("viewer", f"{LIST}?needs=any", java_script_enabled=has_scripts).page
    page.locator("#result_list tbody th a").first.click()
    expect(page).to_have_url(re.compile(str(third.pk)))
    beside = page.get_by_role("navigation", name="Sagas beside this one in its list")
    expect(beside.get_by_role("link")).to_contain_text(["Next"])

    page.get_by_role("navigation", name="Views of this saga").get_by_role("link", name="Steps").click()
    beside.get_by_role("link", name="Next").click()

    expect(page).to_have_url(re.compile(str(first.pk)))
    expect(beside.get_by_role("link")).to_contain_text(["Previous"])


def test_keys_lead_through_the_list(visit: Visit) -> None:
    older, newer = trips.make_paused(), trips.make_paused()
    page = visit("viewer", address_of(newer)).page

    page.keyboard.press("n")
    expect(page).to_have_url(re.compile(str(older.pk)))
    page.keyboard.press("n")
    page.keyboard.press("p")

    expect(page).to_have_url(re.compile(str(newer.pk)))
