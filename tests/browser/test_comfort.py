"""Automatic refresh and keyboard shortcuts of the console."""

import re
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from sagas import RetryLater
from sagas.models import Saga, SagaBarrier, SagaWorker
from sagas.operators import operations
from sagas.operators.audit import access_log
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation
from tests.admin import trips

from .conftest import Visit

LIST = "/admin/sagas/saga/"


def address_of(saga: Saga, tab: str = "graph") -> str:
    return f"{LIST}{saga.pk}/change/?tab={tab}"


def refresh_fast(page: Page) -> None:
    """Choose a refresh every two seconds."""
    page.get_by_label("Refresh").select_option("2")
    # A form in use pauses the refresh; the user leaves it.
    page.evaluate("document.activeElement.blur()")


def test_saga_page_refreshes_itself(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    visitor = visit("operator", address_of(saga))
    page = visitor.page
    expect(page.get_by_role("region", name="State of the saga")).to_contain_text("waiting for a retry")
    refresh_fast(page)
    page.mouse.move(2, 2)

    operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)

    expect(page.get_by_role("region", name="State of the saga")).to_contain_text("held: paused")
    expect(page.get_by_role("link", name="Resume")).to_be_visible()
    expect(page.locator("#saga-at")).to_contain_text("as of")
    visitor.open(address_of(saga))
    expect(page.get_by_label("Refresh")).to_have_value("2")


def test_nothing_moves_under_the_mouse(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    page = visit("operator", address_of(saga)).page
    refresh_fast(page)
    page.get_by_role("link", name="Retry now").hover()

    operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)

    show = page.get_by_role("button", name="Show changes")
    expect(show).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="There are changes.")).to_have_count(1)
    expect(page.get_by_role("link", name="Resume")).to_have_count(0)
    show.click()
    expect(page.get_by_role("link", name="Resume")).to_be_visible()
    expect(show).to_be_hidden()


def test_list_rows_keep_their_position_under_the_mouse(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    page = visit("viewer").page
    refresh_fast(page)
    rows = page.locator("#result_list tbody tr")
    expect(rows).to_have_count(1)
    rows.first.hover()

    operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)
    expect(rows.first).to_contain_text("held: paused")
    other = trips.start()

    expect(page.get_by_role("button", name="Show changes")).to_be_visible()
    expect(rows).to_have_count(1)
    page.mouse.move(2, 2)  # they appear when the mouse leaves
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text(other.keys.get().value)
    expect(page.get_by_role("button", name="Show changes")).to_be_hidden()


@pytest.mark.parametrize(
    ("use", "leave", "told"),
    [
        (
            "document.body.append(Object.assign(document.createElement('input'), { id: 'field' })), field.focus()",
            "document.activeElement.blur()",
            "a form is in use",
        ),
        (
            "getSelection().selectAllChildren(document.querySelector('h1'))",
            "getSelection().removeAllRanges()",
            "text is selected",
        ),
        (
            "document.querySelector('#saga-help').showModal()",
            "document.querySelector('#saga-help').close()",
            "a dialog is open",
        ),
    ],
)
def test_refresh_pauses_while_something_is_in_use(visit: Visit, use: str, leave: str, told: str) -> None:
    saga = trips.make_waiting_for_retry()
    page = visit("operator", address_of(saga)).page
    refresh_fast(page)
    page.mouse.move(2, 2)

    page.evaluate(use)
    expect(page.locator("#saga-at")).to_have_text(f"paused: {told}")
    operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)
    page.evaluate(leave)

    expect(page.get_by_role("region", name="State of the saga")).to_contain_text("held: paused")


def test_refresh_pauses_while_rows_are_selected(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    page = visit("admin").page
    box = page.locator("#result_list tbody input[type=checkbox]")
    box.check()
    refresh_fast(page)
    expect(page.locator("#saga-at")).to_have_text("paused: rows are selected")
    operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)
    box.uncheck()
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(2, 2)

    expect(page.locator("#result_list")).to_contain_text("held: paused")


def test_hidden_tabs_send_no_requests(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    page = visit("operator", address_of(saga)).page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})")
    refresh_fast(page)
    expect(page.locator("#saga-at")).to_have_text("paused: this tab is hidden")
    assert asked == []

    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#saga-at")).to_contain_text("as of")
    assert [url.endswith("/refresh/?tab=graph") for url in asked] == [True]


def test_open_details_and_scroll_positions_are_kept(visit: Visit) -> None:
    saga = trips.make_compensation_failing()
    page = visit("admin", address_of(saga, "timeline"), viewport={"width": 500, "height": 800}).page
    page.locator("table summary").first.click()
    picture = page.get_by_role("region", name="Picture of the timeline")
    picture.evaluate("box => { box.scrollLeft = 90 }")

    with page.expect_response(re.compile("/refresh/")) as first:
        refresh_fast(page)
    assert first.value.status == 200
    expect(page.locator("#saga-at")).to_contain_text("as of")

    expect(page.locator("table details[open]")).to_have_count(1)
    assert picture.evaluate("box => box.scrollLeft") == 90


def test_logout_is_reported(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    page = visit("operator", address_of(saga)).page
    page.context.clear_cookies()
    refresh_fast(page)

    expect(page.locator("#saga-at")).to_have_text("no refresh: the server answered 403")


def test_refresh_can_be_switched_off(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    visitor = visit("operator", address_of(saga))
    page = visitor.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    refresh_fast(page)
    expect(page.locator("#saga-at")).to_contain_text("as of")
    page.get_by_label("Refresh").select_option("0")

    expect(page.locator("#saga-at")).to_be_empty()
    visitor.open(address_of(saga))
    expect(page.get_by_label("Refresh")).to_have_value("0")
    assert len([url for url in asked if "/refresh/" in url]) >= 1


def test_list_works_by_keyboard(visit: Visit) -> None:
    sagas = [trips.start() for _ in range(3)]
    page = visit("operator").page
    links = page.locator("#result_list tbody th a")
    expect(links).to_have_count(3)
    listens = page.get_by_role("button", name="Keyboard (?)")  # shown by the script

    expect(listens).to_be_visible()
    page.keyboard.press("j")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused()
    assert links.nth(0).evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page).to_have_title(re.compile(sagas[-1].keys.get().value))

    expect(listens).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Find")).to_be_focused()
    page.keyboard.type("jk?/")
    expect(page.get_by_role("searchbox", name="Find")).to_have_value("jk?/")
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("/admin/sagas/saga/log/", ".saga-operations tbody tr td.saga-what a"),
        ("/admin/sagas/saga/failures/", ".saga-groups > tbody > tr td.saga-links a:last-child"),
        ("/admin/sagas/", ".saga-attention tbody th a"),
        ("/admin/sagas/sagabulk/", "#result_list tbody th a"),
        ("/admin/sagas/sagaaccess/", "#result_list tbody .field-saga a"),
    ],
)
def test_every_list_works_by_keyboard(visit: Visit, path: str, link: str) -> None:
    for message in ("The hotel is full.", "The lift is broken."):
        saga = trips.make_refused("book_hotel", RetryLater(message, after=3000))
        operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)
        freezing.freeze_selected(Operation.RESUME, [saga.pk], actor=trips.BOSS)
        access_log.log_access("boss", access_log.What.VALUE, saga_id=saga.pk)
    trips.start()  # another state, for the dashboard
    page = visit("admin", path).page
    expect(page.get_by_role("button", name="Keyboard (?)")).to_be_visible()

    page.keyboard.press("j")
    expect(page.locator(link).first).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator(link).nth(1)).to_be_focused()
    url = page.locator(link).nth(1).evaluate("link => link.href")
    page.keyboard.press("Enter")

    expect(page).to_have_url(url)


@pytest.mark.parametrize("path", ["/admin/sagas/sagaworker/", "/admin/sagas/sagabarrier/"])
def test_rows_without_a_link_can_be_selected_by_keyboard(visit: Visit, path: str) -> None:
    now = trips.start().created_at
    for number in range(2):
        SagaWorker.objects.create(
            name=f"w{number}", host="h", pid=number, started_at=now, last_sweep_at=now - timedelta(seconds=number)
        )
        SagaBarrier.objects.create(key=f"k{number}", direction="action", state="done", created_at=now)
    page = visit("admin", path).page
    expect(page.get_by_role("button", name="Keyboard (?)")).to_be_visible()

    page.keyboard.press("j")
    page.keyboard.press("j")

    expect(page.locator("#result_list tbody tr").nth(1)).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def test_row_details_are_opened_by_keyboard(visit: Visit) -> None:
    saga = trips.make_compensation_failing()
    page = visit("admin", address_of(saga, "timeline")).page

    page.keyboard.press("k")
    expect(page.locator(".saga-page tbody tr").last).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.locator(".saga-page tbody tr").last.locator("details")).to_have_attribute("open", "")


def test_help_opens_by_key_and_mouse_and_shortcuts_can_be_switched_off(visit: Visit) -> None:
    trips.start()
    page = visit("operator").page
    help_dialog = page.get_by_role("dialog", name="Keyboard")
    opener = page.get_by_role("button", name="Keyboard (?)")

    expect(opener).to_be_visible()
    page.keyboard.press("?")
    expect(help_dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(help_dialog).to_be_hidden()
    opener.click()
    help_dialog.get_by_label("Use these keys").uncheck()
    help_dialog.get_by_role("button", name="Close").click()

    expect(help_dialog).to_be_hidden()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.keyboard.press("j")
    expect(help_dialog).to_be_hidden()
    expect(page.locator("#result_list a:focus")).to_have_count(0)
    page.reload()
    expect(opener).to_be_visible()
    page.keyboard.press("?")
    expect(help_dialog).to_be_hidden()


def test_without_scripts_no_comfort_is_offered(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    visitor = visit("operator", java_script_enabled=False)

    for path in (LIST, address_of(saga)):
        visitor.open(path)
        expect(visitor.page.get_by_label("Refresh")).to_be_hidden()
        expect(visitor.page.get_by_role("button", name="Keyboard")).to_have_count(0)
        expect(visitor.page.get_by_role("dialog")).to_have_count(0)
