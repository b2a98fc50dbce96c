"""Automatic checks of focus and motion; ``test_page_inspection.py`` examines every page by axe."""

from sagas.admin.ui.page_selection import ORCHESTRATION_TABS
from tests.admin import trips

from .conftest import Visit

LIST = "/admin/sagas/saga/"


def test_focus_is_always_visible(visit: Visit) -> None:
    saga = trips.make_compensation_failing()
    visitor = visit("admin")
    page = visitor.page

    for tab in ORCHESTRATION_TABS:
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


def test_reduced_motion_is_respected(visit: Visit) -> None:
    saga = trips.make_compensation_failing()
    visitor = visit("admin", reduced_motion="reduce")

    for path in ("", f"{saga.pk}/change/"):
        visitor.open(f"{LIST}{path}")
        moving = visitor.page.locator("#content *").evaluate_all(
            """all => all.filter(one => {
                const style = getComputedStyle(one);
                return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
            }).map(one => one.outerHTML.slice(0, 80))"""
        )
        assert moving == []
