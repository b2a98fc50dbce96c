"""Page inspection: light and dark, wide and narrow, by axe, and without scripts."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.depth import IS_FULL

from .conftest import Visitor

SCREENSHOTS = Path(__file__).resolve().parents[2] / "var" / "screenshots"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
# Colours do not depend on the width, nor positions on the colours: two combinations suffice. In full runs axe examines
# each page in both, otherwise in turn.
RENDERINGS = (("light", WIDE), ("dark", NARROW), ("dark", WIDE), ("light", NARROW))
EXAMINED = RENDERINGS[:2]
BACKGROUNDS = {"light": "rgb(247, 248, 250)", "dark": "rgb(16, 18, 23)"}
AXE = Axe().axe_script
# WCAG 2.2, A and AA; and the part that size or colours can affect.
EVERYTHING = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
RENDERING_RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["color-contrast", "link-in-text-block", "target-size", "scrollable-region-focusable", "region"],
}
# The admin's own header and menu are not ours to fix.
OURS = {"include": [["#content-start"]]}
# Faults of the page at its current size and in its current colours, a line each.
FIND_FAULTS = """() => {
    const all = (selector) => [...document.querySelectorAll(`#content-start ${selector}`)];
    const shown = (one) => one.getClientRects().length > 0;
    const html = (one) => one.outerHTML.slice(0, 160);
    const faults = [];
    const add = (fault, found) => found.forEach((one) => faults.push(`${fault}: ${one}`));
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) faults.push(`${root.scrollWidth - root.clientWidth} px too wide`);
    add("tiny icon", all(".saga-icon").filter(shown).filter((one) => one.getBoundingClientRect().width < 8).map(html));
    const breaks = (one) => {
        const texts = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
        for (let text = texts.nextNode(); text; text = texts.nextNode()) {
            for (const word of text.data.matchAll(/[^\\s-]+/g)) {
                const range = document.createRange();
                range.setStart(text, word.index);
                range.setEnd(text, word.index + word[0].length);
                if (new Set([...range.getClientRects()].map((line) => Math.round(line.top))).size > 1) return word[0];
            }
        }
        return "";
    };
    const short = ".saga-badge, .saga-button, .saga-tile-label, thead th, dt";
    add("broken word", all(short).filter(shown).map(breaks).filter(Boolean));
    // Titles need a pointer. Two are the admin's own, and repeat the text next to them.
    add("text in a title alone", all("[title]:not([name=index], .section)").map(html));
    const isScrolled = (one) => one.scrollWidth > one.clientWidth && !one.matches(".saga-picture");
    if (innerWidth >= 1280) add("scrolled on a laptop", all(".saga-scroll, .results").filter(isScrolled).map(html));
    const isCut = (one) => getComputedStyle(one).textOverflow === "ellipsis" && one.scrollWidth > one.clientWidth;
    const isLost = (one) => shown(one) && isCut(one) && !one.closest("summary");
    add("text cut off for good", all("*").filter(isLost).map(html));
    return faults;
}"""
# Colours and positions are animated; intermediate states are not judged.
SETTLE = """async () => {
    await new Promise(requestAnimationFrame);
    const passing = document.getAnimations().filter((one) => one instanceof CSSTransition);
    await Promise.allSettled(passing.map((one) => one.finished));
}"""
# Without the scripts' additions: refresh, keys, and the admin's count of selected rows.
READ = """() => {
    for (const one of document.querySelectorAll("#saga-comfort, .action-counter, noscript")) one.remove();
    return document.querySelector("#content").innerText;
}"""
SPAN = r"\d+(?:\.\d)? (?:ms|s|min|h|d)\b"
NUMBER = re.compile(r"\d+")
TIME = re.compile(rf"(?:in )?{SPAN}(?: {SPAN})?(?: ago)?|just now|\bnow\b|\b\d\d:\d\d:\d\d\b")


def examine(visitor: Visitor, rules: Mapping[str, Any] = EVERYTHING) -> list[str]:
    """Return axe's violations, a line each.

    It adds inline styles, which violates the page's policy: these complaints are dropped.
    """
    before = list(visitor.complaints)
    if not visitor.page.evaluate("'axe' in window"):
        visitor.page.evaluate(AXE)
    found = visitor.page.evaluate("([what, how]) => axe.run(what, how)", [OURS, rules])["violations"]
    visitor.complaints[:] = before
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


def keep_picture(page: Page, name: str) -> None:
    """Keep a picture of the page; no test reads it, so only full runs do."""
    if IS_FULL:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


class PageInspector:
    """Inspector of pages, with the faults found so far.

    visitor: with scripts. plain: the same user without. faults: each with the name of the page.
    """

    def __init__(self, visitor: Visitor, plain: Visitor) -> None:
        self.visitor, self.plain = visitor, plain
        self.faults: list[str] = []
        self.inspected = 0

    def inspect(self, name: str, path: str = "", *, opens_folds: bool = False) -> None:
        """Inspect the current page, or the one at a path, which must have the same text without scripts."""
        page = self.visitor.page
        if path:
            self.visitor.open(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        examined = EXAMINED if IS_FULL else EXAMINED[self.inspected % 2 :][:1]
        self.inspected += 1
        for scheme, size in RENDERINGS if IS_FULL else EXAMINED:
            _dress(page, scheme, size)
            found: list[str] = page.evaluate(FIND_FAULTS)
            if page.evaluate("getComputedStyle(document.body).backgroundColor") != BACKGROUNDS[scheme]:
                found.append("wrong background")
            keep_picture(page, f"{name}-{scheme}-{size['width']}")
            if (scheme, size) in examined:
                found += self._examine(EVERYTHING if (scheme, size) == examined[0] else RENDERING_RULES, opens_folds)
            self.faults += [f"{name}, {scheme}, {size['width']}: {one}" for one in found]
        if path:
            self.plain.open(path)
            self.compare(name)

    def _examine(self, rules: Mapping[str, Any], opens_folds: bool) -> list[str]:
        if not opens_folds:
            return examine(self.visitor, rules)
        folds = self.visitor.page.locator(".saga-page details:not([open])")
        folds.evaluate_all("all => { window.folds = all; all.forEach(one => { one.open = true }) }")
        self.visitor.page.evaluate(SETTLE)  # unfolded content takes the colours of the scheme when it appears
        found = examine(self.visitor, rules)
        self.visitor.page.evaluate("window.folds.forEach(one => { one.open = false })")
        return found

    def require_sound(self) -> None:
        """Fail with all faults."""
        if self.faults:
            pytest.fail("\n".join(self.faults), pytrace=False)

    def compare(self, name: str) -> None:
        """Find text that a page shows only with scripts; both visitors have it open."""
        said, plain = _read(self.visitor.page), set(_read(self.plain.page))
        self.faults += [f"{name}, not without scripts: {line}" for line in said if line not in plain]


def _dress(page: Page, scheme: Any, size: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    page.evaluate(SETTLE)


def _read(page: Page) -> list[str]:
    text: str = page.evaluate(READ)
    # Time passes between two visits: more sagas are due, and older.
    return sorted({NUMBER.sub("0", TIME.sub("T", line)).strip() for line in text.splitlines()})
