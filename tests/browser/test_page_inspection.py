"""Every page of the console: light and dark, wide and narrow, examined by axe, and without scripts.

The screenshots are in ``var/screenshots``.
"""

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from sagas.admin.ui.page_selection import ORCHESTRATION_TABS, Tab
from sagas.models import SagaBulk
from sagas.operators import operations
from sagas.operators.bulk import freezing, runner
from sagas.operators.preconditions import Operation
from sagas.operators.queries import search
from tests.admin import trips
from tests.admin.pages import LIST, action_of, page_of
from tests.depth import IS_FULL
from tests.events.conftest import event_settings, flow, url
from tests.events.world import Behaviour

from . import scenes
from .conftest import Visit
from .inspection import NARROW, RENDERING_RULES, PageInspector, examine
from .scenes import REASON

__all__ = ["event_settings", "flow", "url"]

BULKS = "/admin/sagas/sagabulk/"
EVENTS = f"{LIST}events/"


@pytest.fixture
def inspector(visit: Visit) -> Iterator[PageInspector]:
    """Inspect pages as an administrator; fail if there are any faults."""
    visitor = visit()
    plain = visit(java_script_enabled=False, viewport=NARROW)
    inspector = PageInspector(visitor, plain)
    for one in (visitor, plain):
        one.log_in("admin")
    yield inspector
    inspector.require_sound()


@pytest.mark.parametrize("story", scenes.STORIES)
def test_every_view_of_a_saga(inspector: PageInspector, story: str) -> None:
    saga = scenes.STORIES[story]()
    page = inspector.visitor.page

    for tab in ORCHESTRATION_TABS if IS_FULL else scenes.VIEWS[story]:
        inspector.inspect(f"page-{story}-{tab}", page_of(saga, tab), opens_folds=story == "failing")

        expect(page.locator("#content-main").get_by_role("table")).to_have_count(1)
        pictures = page.locator(".saga-picture > svg")
        assert pictures.count() == (tab in (Tab.GRAPH, Tab.TIMELINE))
        if pictures.count():
            box = pictures.bounding_box()
            assert box is not None
            assert box["width"] < 3000
            assert box["height"] < 7000


def test_pages_of_operations(inspector: PageInspector) -> None:
    sagas = {name: maker() for name, maker in trips.MAKERS.items()}
    page, plain = inspector.visitor.page, inspector.plain.page
    inspector.inspect("act-plan", action_of(sagas["unknown"], Operation.COMPENSATE))
    inspector.inspect("act-mark", action_of(sagas["held_unknown"], Operation.MARK_SUCCEEDED, "pay"))
    inspector.inspect("act-step-for-mark", action_of(sagas["held_unknown"], Operation.MARK_SUCCEEDED))
    inspector.inspect("act-step-for-skip", action_of(sagas["contract_violation"], Operation.SKIP))
    inspector.inspect("act-refused", action_of(sagas["completed"], Operation.COMPENSATE))
    inspector.inspect("act-gone", f"{LIST}00000000-0000-0000-0000-000000000000/act/retry/")
    inspector.inspect("act-abandon", action_of(sagas["compensation_refused"], Operation.ABANDON))

    for one in (page, plain):
        one.goto(inspector.visitor.address + action_of(sagas["held_unknown"], Operation.MARK_SUCCEEDED, "pay"))
        one.get_by_label("Reason").fill("short")
        one.get_by_role("button", name="Mark succeeded").click()
        expect(one.get_by_role("alert")).to_contain_text("the form needs your attention")
    inspector.inspect("act-errors")
    inspector.compare("act-errors")

    for one in (page, plain):
        one.goto(inspector.visitor.address + action_of(sagas["waiting_for_retry"], Operation.CANCEL))
    operations.pause(sagas["waiting_for_retry"].pk, actor=trips.BOSS, reason="A colleague was faster.")
    for one in (page, plain):
        one.get_by_label("Reason").fill(REASON)
        one.get_by_role("button", name="Cancel the saga").click()
        expect(one.get_by_role("table", name="History since")).to_contain_text("A colleague was faster.")
    inspector.inspect("act-stale")
    inspector.compare("act-stale")


def test_pages_without_permission(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    visitor, plain = visit(), visit(java_script_enabled=False, viewport=NARROW)
    inspector = PageInspector(visitor, plain)
    for one in (visitor, plain):
        one.log_in("viewer")
    inspector.inspect("viewer-list", LIST)
    inspector.inspect("viewer-steps", page_of(saga, Tab.STEPS))
    inspector.inspect("viewer-refused", action_of(saga, Operation.RETRY))
    inspector.inspect("viewer-bulk", f"{BULKS}new/?display=waiting_for_retry")
    inspector.inspect("gone-saga", f"{LIST}00000000-0000-0000-0000-000000000000/change/")
    inspector.require_sound()


def test_pages_about_many_sagas(inspector: PageInspector) -> None:
    sagas = scenes.make_a_night()
    scenes.make_workers_and_barriers(sagas["compensation_failing"])
    inspector.inspect("dashboard", "/admin/sagas/")
    inspector.inspect("list", f"{LIST}")
    inspector.inspect("list-narrowed", f"{LIST}?attempts=2&closed=no&since=2020-01-01T00:00:00")
    inspector.inspect("list-nothing", f"{LIST}?display=held&q=zzz")
    inspector.inspect("list-refused", f"{LIST}?display=nonsense")
    inspector.inspect("failures", f"{LIST}failures/")
    inspector.inspect("definitions", f"{LIST}definitions/")
    inspector.inspect("definition", f"{LIST}definitions/trip/3/")
    inspector.inspect("log", f"{LIST}log/")
    inspector.inspect("looks", "/admin/sagas/sagaaccess/")
    inspector.inspect("workers", "/admin/sagas/sagaworker/")
    inspector.inspect("barriers", "/admin/sagas/sagabarrier/")

    page, plain = inspector.visitor.page, inspector.plain.page
    for name, word in (("log-sound", "entries are intact"), ("log-broken", "was changed in the database")):
        for one in (page, plain):
            one.goto(f"{inspector.visitor.address}{LIST}log/")
            one.get_by_role("button", name="Verify this window").click()
            expect(one.get_by_role("status", name="Verification")).to_contain_text(word)
        inspector.inspect(name)
        inspector.compare(name)
        scenes.tamper(sagas["held_unknown"])

    inspector.visitor.open(f"{LIST}log/")
    page.get_by_role("button", name="Keyboard (?)").click()
    inspector.inspect("help")


def test_pages_about_events(inspector: PageInspector, flow: Behaviour) -> None:
    dead = scenes.make_events(flow)
    page, plain = inspector.visitor.page, inspector.plain.page
    event = f"{EVENTS}one/?{urlencode({'id': dead.event_id, 'source': dead.source})}"
    retry = event.replace("/one/", "/one/retry/") + "&consumer=inventory"
    inspector.inspect("events", EVENTS)
    inspector.inspect("events-narrowed", f"{EVENTS}?state=dead&participant=inventory")
    inspector.inspect("events-nothing", f"{EVENTS}?key=none")
    inspector.inspect("events-refused", f"{EVENTS}?state=lost")
    inspector.inspect("event", event, opens_folds=True)
    inspector.inspect("event-retry", retry)
    inspector.inspect("event-discard", retry.replace("/retry/", "/discard/"))
    inspector.inspect("event-refused", retry.replace("=inventory", "=nobody"))
    for one in (page, plain):
        one.goto(inspector.visitor.address + retry)
        one.get_by_label("Reason").fill("short")
        one.get_by_role("button", name="Retry now").click()
        expect(one.get_by_role("alert")).to_contain_text("the form needs your attention")
    inspector.inspect("event-errors")
    inspector.compare("event-errors")
    inspector.inspect("dead-letters", f"{EVENTS}dead-letters/")
    inspector.visitor.open(f"{EVENTS}dead-letters/")
    page.get_by_role("link", name="Retry all").first.click()
    inspector.inspect("dead-letters-retry")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("table", name="What became of each event")).to_be_visible()
    inspector.inspect("dead-letters-results")
    inspector.inspect("delivery", f"{EVENTS}delivery/")
    inspector.inspect("catalogue", f"{EVENTS}catalogue/")
    inspector.inspect("log-of-events", f"{LIST}log/")


def test_page_of_a_broad_search(inspector: PageInspector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_KEYS", 2)
    monkeypatch.setattr(search, "MAX_LOOKED_THROUGH", 2)
    for _ in range(3):
        trips.start()

    inspector.inspect("list-common", f"{LIST}?q=ORD")

    expect(inspector.visitor.page.get_by_role("status").filter(has_text="keys begin with this text")).to_be_visible()
    inspector.visitor.page.get_by_role("link", name="search older ones").click()
    expect(inspector.visitor.page.locator("#result_list tbody tr")).to_have_count(1)


def test_empty_pages(inspector: PageInspector) -> None:
    inspector.inspect("empty-dashboard", "/admin/sagas/")
    inspector.inspect("empty-list", LIST)
    inspector.inspect("empty-failures", f"{LIST}failures/")
    inspector.inspect("empty-log", f"{LIST}log/")
    inspector.inspect("empty-bulks", BULKS)
    inspector.inspect("empty-looks", "/admin/sagas/sagaaccess/")


def test_pages_of_bulks(inspector: PageInspector, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("operators.bulk.preconditions", "operators.bulk.freezing", "admin.bulks.bulk_page"):
        monkeypatch.setattr(f"sagas.{module}.CONFIRM_COUNT_ABOVE", 10)
    sagas = [trips.make_waiting_for_retry() for _ in range(12)]
    page, plain = inspector.visitor.page, inspector.plain.page
    inspector.inspect("bulk-new", f"{BULKS}new/?display=waiting_for_retry")
    inspector.inspect("bulk-refused", f"{BULKS}new/")
    inspector.inspect("bulk-none", f"{BULKS}new/?display=completed")
    inspector.inspect("bulk-few", url_of(scenes.freeze(sagas[:3])))
    inspector.inspect("bulk-count", url_of(scenes.freeze(sagas)))
    for one in (page, plain):
        one.get_by_label("Reason").fill("short")
        one.get_by_label("How many sagas?").fill("11")
        one.get_by_role("button", name="Cancel: 12 sagas").click()
        expect(one.locator(".errorlist").first).to_be_visible()
    inspector.inspect("bulk-errors")
    inspector.compare("bulk-errors")
    old = scenes.freeze(sagas[:2])
    SagaBulk.objects.filter(pk=old.pk).update(frozen_at=old.frozen_at - timedelta(days=2))
    inspector.inspect("bulk-expired", url_of(old))

    stopped = scenes.start(sagas[10:])
    freezing.stop_bulk(stopped.pk, actor=trips.BOSS, reason="Wrong ones.")
    inspector.inspect("bulk-stopped", url_of(stopped))
    running = scenes.start(sagas[:10])
    operations.pause(sagas[1].pk, actor=trips.BOSS, reason=REASON)
    runner.advance(running.pk)
    inspector.inspect("bulk-running", url_of(running))
    scenes.run(running)
    inspector.inspect("bulk-finished", url_of(running))
    inspector.inspect("bulks", BULKS)


def test_axe_detects_faults(visit: Visit) -> None:
    saga = trips.make_completed()
    visitor = visit("admin", page_of(saga))

    visitor.page.evaluate(
        "() => { document.querySelector('#content-main h2').outerHTML ="
        " '<h5></h5><img src=\"/static/sagas/icons.svg\">';"
        " document.querySelector('#content h1').style.color = '#eeeeee'; }"
    )

    found = {complaint.partition(":")[0] for complaint in examine(visitor)}
    assert found >= {"empty-heading", "image-alt", "color-contrast"}
    again = {complaint.partition(":")[0] for complaint in examine(visitor, RENDERING_RULES)}
    assert again == {"color-contrast"}


def url_of(found: SagaBulk) -> str:
    """Return the URL of a bulk's page."""
    return f"{BULKS}{found.pk}/change/"
