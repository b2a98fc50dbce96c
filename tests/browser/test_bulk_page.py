"""Page of a running bulk: it follows the bulk to its end, wherever mouse and focus are."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from sagas.models import SagaBulk
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation
from tests.admin import trips

from .conftest import Visit
from .inspection import WIDE
from .scenes import REASON, run

WITHIN = 3_000  # milliseconds


def start_bulk(sagas: int = 3) -> SagaBulk:
    ids = [trips.make_waiting_for_retry().pk for _ in range(sagas)]
    frozen = freezing.freeze_selected(Operation.PAUSE, ids, actor=trips.BOSS)
    return freezing.start_bulk(frozen.pk, actor=trips.BOSS, reason=REASON)[0]


def head_of(page: Page) -> Locator:
    return page.locator("[data-part=head]")


def expect_end(page: Page, total: int) -> None:
    expect(head_of(page)).to_contain_text("finished", timeout=WITHIN)
    expect(page.locator("[data-part=progress]")).to_contain_text(f"{total} of {total} sagas have a result.", timeout=1)
    assert page.locator("progress").get_attribute("value") == str(total)
    expect(page.get_by_role("button", name="Stop this bulk")).to_have_count(0, timeout=1)


def select_a_result(page: Page) -> None:
    page.get_by_role("cell", name="not processed").first.dblclick()


PLACES: dict[str, Callable[[Page], None]] = {
    "the bar": lambda page: page.locator("progress").hover(),
    "a filter of results": lambda page: page.get_by_role("link", name="all 3").hover(),
    "a row": lambda page: page.get_by_role("cell", name="not processed").nth(1).hover(),
    "the button that stops": lambda page: page.get_by_role("button", name="Stop this bulk").hover(),
    "the reason to stop": lambda page: page.get_by_label("Reason (optional)").fill("Wrong"),
    "a link of a row": lambda page: page.locator("[data-part=results] th a").first.focus(),
    "selected text": select_a_result,
}


@pytest.mark.parametrize("place", PLACES)
def test_page_ends_with_the_bulk(visit: Visit, place: str) -> None:
    found = start_bulk()
    page = visit("supervisor", f"/admin/sagas/sagabulk/{found.pk}/change/", viewport=WIDE).page
    expect(head_of(page)).to_contain_text("running")
    PLACES[place](page)

    run(found)

    expect_end(page, 3)


def test_page_ends_when_a_hidden_tab_comes_back(visit: Visit) -> None:
    found = start_bulk()
    page = visit("supervisor", f"/admin/sagas/sagabulk/{found.pk}/change/").page
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.isAway, configurable: true })")
    turn = "away => { window.isAway = away; document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(turn, True)
    expect(page.locator("#saga-at")).to_contain_text("paused: this tab is hidden")

    run(found)
    expect(head_of(page)).to_contain_text("running")
    page.evaluate(turn, False)

    expect_end(page, 3)


def test_rows_in_use_are_held_back_and_the_page_says_so(visit: Visit) -> None:
    found = start_bulk()
    page = visit("supervisor", f"/admin/sagas/sagabulk/{found.pk}/change/?result=not_begun", viewport=WIDE).page
    at = page.locator("#saga-at")
    expect(at).to_contain_text("as of")
    rows = page.locator("[data-part=results] tbody tr")
    rows.nth(1).hover()

    run(found)

    expect_end(page, 3)
    expect(at).to_contain_text("changed since", timeout=WITHIN)
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Show changes").click()
    expect(rows).to_have_text(["No sagas."])
    expect(at).not_to_contain_text("changed since")


def test_time_shown_is_the_time_of_the_data(visit: Visit) -> None:
    found = start_bulk()
    page = visit("supervisor", f"/admin/sagas/sagabulk/{found.pk}/change/").page
    with page.expect_response(lambda response: "/refresh/" in response.url and response.status == 200) as caught:
        pass
    said = caught.value.json()["at"]

    expect(page.locator("#saga-at")).to_have_text(f"as of {said[11:]}", timeout=1_000)
