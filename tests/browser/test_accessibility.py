"""Examine the console by axe (WCAG 2.2, A and AA), and what a machine can tell of focus and motion."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from sagas.admin.selection import Tab
from tests.admin import trips

from .conftest import Visitor
from .test_saga_page import make_crowd, make_long_story

Visit = Callable[..., Visitor]
LIST = "/admin/sagas/saga/"
OPTIONS = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
# The admin's own header and menu are not ours to mend.
OURS = {"include": [["#content-start"]]}


def examine(page: Page) -> list[str]:
    """Return what axe complains of, a line each.

    It writes styles of its own into the page, so the browser must be told to bypass the page's policy.
    """
    found = Axe().run(page, OURS, OPTIONS).response["violations"]
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1360, 900)), ("dark", (400, 800))], ids=["light and wide", "dark and narrow"]
)
def test_axe_finds_nothing(visit: Visit, scheme: str, size: tuple[int, int]) -> None:
    failing, held, crowd, story = (
        trips.make_compensation_failing(), trips.make_held_unknown(), make_crowd(), make_long_story(),
    )  # fmt: skip
    visitor = visit(bypass_csp=True, color_scheme=scheme, viewport={"width": size[0], "height": size[1]})
    visitor.log_in("admin")
    paths = [
        "", "../", "failures/", "log/", "../sagalook/", "../sagabarrier/", "../sagaworker/", "../sagabulk/",
        *(f"{failing.pk}/change/?tab={tab}&step=book_flight" for tab in Tab),
        f"{held.pk}/change/?tab=timeline", f"{crowd.pk}/change/", f"{story.pk}/change/?tab=timeline",
        f"{held.pk}/act/mark-succeeded/?step=pay", f"{failing.pk}/act/abandon/",
    ]  # fmt: skip
    complaints = {}

    for path in paths:
        visitor.open(f"{LIST}{path}")
        expect(visitor.page.get_by_role("heading", level=1)).to_be_visible()
        for fold in visitor.page.locator(".saga-page details").all()[:3]:
            fold.evaluate("fold => { fold.open = true }")
        complaints[path] = examine(visitor.page)

    visitor.page.get_by_role("button", name="Keyboard (?)").click()
    complaints["help"] = examine(visitor.page)
    assert [f"{path}: {one}" for path, found in complaints.items() for one in found] == []


def test_axe_would_find_something(visit: Visit) -> None:
    saga = trips.make_completed()
    visitor = visit(bypass_csp=True)
    visitor.log_in("admin")
    visitor.open(f"{LIST}{saga.pk}/change/")

    visitor.page.evaluate("document.querySelector('#content-main h2').outerHTML = '<h5></h5><img src=\"data:,\">'")

    assert {complaint.partition(":")[0] for complaint in examine(visitor.page)} >= {"empty-heading", "image-alt"}


def test_focus_is_seen_wherever_it_goes(visit: Visit) -> None:
    saga = trips.make_compensation_failing()
    visitor = visit()
    page = visitor.page
    visitor.log_in("admin")

    for tab in Tab:
        visitor.open(f"{LIST}{saga.pk}/change/?tab={tab}")
        page.locator("#content-start").focus()
        unseen, seen = [], 0
        while True:
            page.keyboard.press("Tab")
            told = page.evaluate(
                """() => {
                    const at = document.activeElement;
                    if (!at.closest("#content-start")) return null;
                    const box = (at.matches("svg a") && at.querySelector(".saga-box")) || at;
                    const style = getComputedStyle(box);
                    const marked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                    return [at.outerHTML.slice(0, 120), marked || parseFloat(style.strokeWidth) >= 5];
                }"""
            )
            if told is None:
                break
            seen += 1
            if not told[1]:
                unseen.append(told[0])
        assert unseen == []
        assert seen > 12


def test_nothing_moves_for_those_who_do_not_want_it(visit: Visit) -> None:
    saga = trips.make_compensation_failing()
    visitor = visit(reduced_motion="reduce")
    visitor.log_in("admin")

    for path in ("", f"{saga.pk}/change/"):
        visitor.open(f"{LIST}{path}")
        moving = visitor.page.locator("#content *").evaluate_all(
            """all => all.filter(one => {
                const style = getComputedStyle(one);
                return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
            }).map(one => one.outerHTML.slice(0, 80))"""
        )
        assert moving == []
