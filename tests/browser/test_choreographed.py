"""Page of a choreographed saga in a browser: every view, and the keyboard."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from sagas.admin.ui.page_selection import CHOREOGRAPHY_TABS, Tab
from sagas.operators.queries import statistics
from tests.admin.pages import page_of
from tests.choreography_shop import stories
from tests.choreography_shop.conftest import events
from tests.depth import IS_FULL

from .conftest import Visit
from .inspection import NARROW, PageInspector

__all__ = ["events"]
pytestmark = pytest.mark.usefixtures("events")
VIEWS = {
    "late": CHOREOGRAPHY_TABS, "dead": (Tab.FLOW, Tab.EVENTS), "undone": (Tab.FLOW, Tab.TIMELINE),
    "completed": (Tab.FLOW,),
}  # fmt: skip


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


@pytest.mark.parametrize("story", VIEWS)
def test_every_view_of_a_choreographed_saga(inspector: PageInspector, story: str) -> None:
    saga = stories.STORIES[story]()
    page = inspector.visitor.page

    for tab in CHOREOGRAPHY_TABS if IS_FULL else VIEWS[story]:
        inspector.inspect(f"choreographed-{story}-{tab}", page_of(saga, tab))

        expect(page.locator("#content-main").get_by_role("table")).to_have_count(1)
        assert page.locator(".saga-picture > svg").count() == (tab in (Tab.FLOW, Tab.TIMELINE))


def test_dashboard_with_events(inspector: PageInspector) -> None:
    stories.make_dead()
    stories.make_late()
    statistics.refresh(tuple(statistics.PACES), timeout="5s")
    inspector.inspect("dashboard-events", "/admin/sagas/")


@pytest.mark.parametrize("has_scripts", [True, False])
def test_from_a_node_of_the_flow_to_its_event_and_to_the_cause(visit: Visit, has_scripts: bool) -> None:
    saga = stories.make_late()
    page = visit("viewer", page_of(saga), java_script_enabled=has_scripts).page

    page.get_by_role("link", name="PaymentCompleted of payments: done").focus()
    page.keyboard.press("Enter")
    row = page.locator("tr:target")
    expect(row.get_by_role("rowheader")).to_contain_text("PaymentCompleted")
    row.get_by_role("link", name="OrderCreated").click()

    expect(page.locator("tr:target").get_by_role("rowheader")).to_contain_text("OrderCreated")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nodes_have_the_colour_of_their_state_without_inline_style(visit: Visit, scheme: Any) -> None:
    saga = stories.make_late()
    page = visit("viewer", page_of(saga), color_scheme=scheme).page

    stroke = page.locator(".saga-flow .saga-step.saga-tone-urgent .saga-box").evaluate(
        "(one) => getComputedStyle(one).stroke"
    )

    assert stroke == {"light": "rgb(180, 35, 24)", "dark": "rgb(255, 138, 128)"}[scheme]
    assert page.locator("svg style, svg [style], svg script").count() == 0
