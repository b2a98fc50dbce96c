"""Look at every page of the console: light and dark, wide and narrow, examined by axe, and the same without scripts.

The pictures are in ``var/screenshots``, for people to look at.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from sagas.admin.ui.page_selection import Tab
from sagas.models import SagaBulk
from sagas.operators import operations
from sagas.operators.bulk import freezing, runner
from sagas.operators.preconditions import Operation
from sagas.operators.queries import search
from tests.admin import trips
from tests.admin.pages import LIST, action_of, page_of

from . import scenes
from .conftest import Visit
from .looking import LOOKS_ALONE, NARROW, Looker, examine
from .scenes import REASON

BULKS = "/admin/sagas/sagabulk/"


@pytest.fixture
def looker(visit: Visit) -> Iterator[Looker]:
    """Look at pages as an administrator; nothing may be wrong with them."""
    visitor = visit()
    plain = visit(java_script_enabled=False, viewport=NARROW)
    looker = Looker(visitor, plain)
    for one in (visitor, plain):
        one.log_in("admin")
    yield looker
    looker.require_sound()


@pytest.mark.parametrize("story", scenes.STORIES)
def test_every_view_of_a_saga(looker: Looker, story: str) -> None:
    saga = scenes.STORIES[story]()
    page = looker.visitor.page

    for tab in Tab:
        looker.look(f"page-{story}-{tab}", page_of(saga, tab), opens_folds=story == "failing")

        expect(page.locator("#content-main").get_by_role("table")).to_have_count(1)
        pictures = page.locator(".saga-picture > svg")
        assert pictures.count() == (tab in (Tab.GRAPH, Tab.TIMELINE))
        if pictures.count():
            box = pictures.bounding_box()
            assert box is not None
            assert box["width"] < 3000
            assert box["height"] < 7000


def test_pages_of_actions(looker: Looker) -> None:
    sagas = {name: maker() for name, maker in trips.MAKERS.items()}
    page, plain = looker.visitor.page, looker.plain.page
    looker.look("act-plan", action_of(sagas["unknown"], Operation.COMPENSATE))
    looker.look("act-mark", action_of(sagas["held_unknown"], Operation.MARK_SUCCEEDED, "pay"))
    looker.look("act-step-for-mark", action_of(sagas["held_unknown"], Operation.MARK_SUCCEEDED))
    looker.look("act-step-for-skip", action_of(sagas["contract_violation"], Operation.SKIP))
    looker.look("act-refused", action_of(sagas["completed"], Operation.COMPENSATE))
    looker.look("act-gone", f"{LIST}00000000-0000-0000-0000-000000000000/act/retry/")
    looker.look("act-abandon", action_of(sagas["compensation_refused"], Operation.ABANDON))

    for one in (page, plain):
        one.goto(looker.visitor.address + action_of(sagas["held_unknown"], Operation.MARK_SUCCEEDED, "pay"))
        one.get_by_label("Reason").fill("short")
        one.get_by_role("button", name="Mark succeeded").click()
        expect(one.get_by_role("alert")).to_contain_text("the form needs your attention")
    looker.look("act-errors")
    looker.compare("act-errors")

    for one in (page, plain):
        one.goto(looker.visitor.address + action_of(sagas["waiting_for_retry"], Operation.CANCEL))
    operations.pause(sagas["waiting_for_retry"].pk, actor=trips.BOSS, reason="A colleague was faster.")
    for one in (page, plain):
        one.get_by_label("Reason").fill(REASON)
        one.get_by_role("button", name="Cancel the saga").click()
        expect(one.get_by_role("table", name="History since")).to_contain_text("A colleague was faster.")
    looker.look("act-stale")
    looker.compare("act-stale")


def test_pages_of_those_who_may_not(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    visitor, plain = visit(), visit(java_script_enabled=False, viewport=NARROW)
    looker = Looker(visitor, plain)
    for one in (visitor, plain):
        one.log_in("viewer")
    looker.look("viewer-list", LIST)
    looker.look("viewer-steps", page_of(saga, Tab.STEPS))
    looker.look("viewer-refused", action_of(saga, Operation.RETRY))
    looker.look("viewer-bulk", f"{BULKS}new/?display=waiting_for_retry")
    looker.look("gone-saga", f"{LIST}00000000-0000-0000-0000-000000000000/change/")
    looker.require_sound()


def test_pages_about_many_sagas(looker: Looker) -> None:
    sagas = scenes.make_a_night()
    scenes.make_machinery(sagas["compensation_failing"])
    looker.look("dashboard", "/admin/sagas/")
    looker.look("list", f"{LIST}")
    looker.look("list-narrowed", f"{LIST}?attempts=2&closed=no&since=2020-01-01T00:00:00")
    looker.look("list-nothing", f"{LIST}?display=held&q=zzz")
    looker.look("list-refused", f"{LIST}?display=nonsense")
    looker.look("failures", f"{LIST}failures/")
    looker.look("log", f"{LIST}log/")
    looker.look("looks", "/admin/sagas/sagaaccess/")
    looker.look("workers", "/admin/sagas/sagaworker/")
    looker.look("barriers", "/admin/sagas/sagabarrier/")

    page, plain = looker.visitor.page, looker.plain.page
    for name, word in (("log-sound", "entries are intact"), ("log-broken", "was changed in the database")):
        for one in (page, plain):
            one.goto(f"{looker.visitor.address}{LIST}log/")
            one.get_by_role("button", name="Verify this window").click()
            expect(one.get_by_role("status", name="Verification")).to_contain_text(word)
        looker.look(name)
        looker.compare(name)
        scenes.tamper(sagas["held_unknown"])

    looker.visitor.open(f"{LIST}log/")
    page.get_by_role("button", name="Keyboard (?)").click()
    looker.look("help")


def test_page_of_a_common_search(looker: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_KEYS", 2)
    monkeypatch.setattr(search, "MAX_LOOKED_THROUGH", 2)
    for _ in range(3):
        trips.start()

    looker.look("list-common", f"{LIST}?q=ORD")

    expect(looker.visitor.page.get_by_role("status").filter(has_text="keys begin with this text")).to_be_visible()
    looker.visitor.page.get_by_role("link", name="search older ones").click()
    expect(looker.visitor.page.locator("#result_list tbody tr")).to_have_count(1)


def test_pages_with_nothing_on_them(looker: Looker) -> None:
    looker.look("empty-dashboard", "/admin/sagas/")
    looker.look("empty-list", LIST)
    looker.look("empty-failures", f"{LIST}failures/")
    looker.look("empty-log", f"{LIST}log/")
    looker.look("empty-bulks", BULKS)
    looker.look("empty-looks", "/admin/sagas/sagaaccess/")


def test_pages_of_bulks(looker: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("operators.bulk.preconditions", "operators.bulk.freezing", "admin.bulks.bulk_page"):
        monkeypatch.setattr(f"sagas.{module}.CONFIRM_COUNT_ABOVE", 10)
    sagas = [trips.make_waiting_for_retry() for _ in range(12)]
    page, plain = looker.visitor.page, looker.plain.page
    looker.look("bulk-new", f"{BULKS}new/?display=waiting_for_retry")
    looker.look("bulk-refused", f"{BULKS}new/")
    looker.look("bulk-none", f"{BULKS}new/?display=completed")
    looker.look("bulk-few", url_of(scenes.draw(sagas[:3])))
    looker.look("bulk-count", url_of(scenes.draw(sagas)))
    for one in (page, plain):
        one.get_by_label("Reason").fill("short")
        one.get_by_label("How many sagas?").fill("11")
        one.get_by_role("button", name="Cancel: 12 sagas").click()
        expect(one.locator(".errorlist").first).to_be_visible()
    looker.look("bulk-errors")
    looker.compare("bulk-errors")
    old = scenes.draw(sagas[:2])
    SagaBulk.objects.filter(pk=old.pk).update(frozen_at=old.frozen_at - timedelta(days=2))
    looker.look("bulk-expired", url_of(old))

    stopped = scenes.start(sagas[10:])
    freezing.stop_bulk(stopped.pk, actor=trips.BOSS, reason="Wrong ones.")
    looker.look("bulk-stopped", url_of(stopped))
    running = scenes.start(sagas[:10])
    operations.pause(sagas[1].pk, actor=trips.BOSS, reason=REASON)
    runner.advance(running.pk)
    looker.look("bulk-running", url_of(running))
    scenes.run(running)
    looker.look("bulk-finished", url_of(running))
    looker.look("bulks", BULKS)


def test_axe_would_find_something(visit: Visit) -> None:
    saga = trips.make_completed()
    visitor = visit()
    visitor.log_in("admin", page_of(saga))

    visitor.page.evaluate(
        "() => { document.querySelector('#content-main h2').outerHTML ="
        " '<h5></h5><img src=\"/static/sagas/icons.svg\">';"
        " document.querySelector('#content h1').style.color = '#eeeeee'; }"
    )

    found = {complaint.partition(":")[0] for complaint in examine(visitor)}
    assert found >= {"empty-heading", "image-alt", "color-contrast"}
    again = {complaint.partition(":")[0] for complaint in examine(visitor, LOOKS_ALONE)}
    assert again == {"color-contrast"}


def url_of(found: SagaBulk) -> str:
    """Return the address of a bulk's page."""
    return f"{BULKS}{found.pk}/change/"
