"""Pictures of the console for README and documentation: ``make pictures``.

Each is taken at 1280 by 800 with two pixels for each of them, on a light and a dark page.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagas.admin.ui.page_selection import Tab
from sagas.models import Saga
from sagas.operators.preconditions import Operation
from tests.admin import trips
from tests.admin.pages import LIST, action_of, page_of

from . import scenes
from .conftest import Visit

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
SIZE: Any = {"width": 1280, "height": 800}
PAGES: dict[str, Callable[[dict[str, Saga]], str]] = {
    "list": lambda _: f"{LIST}?by=severest",
    "failing-compensation": lambda sagas: page_of(sagas["compensation_failing"], Tab.TIMELINE),
    "plan-at-the-pivot": lambda sagas: action_of(sagas["held_unknown"], Operation.MARK_REFUSED, "pay"),
    "failure-groups": lambda _: f"{LIST}failures/",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_taken(visit: Visit, scheme: Any) -> None:
    sagas = scenes.make_a_night()
    sagas["compensation_failing"] = trips.make_compensation_failing()
    visitor = visit("supervisor", color_scheme=scheme, viewport=SIZE, device_scale_factor=2)
    PICTURES.mkdir(exist_ok=True)

    for name, find_path in PAGES.items():
        visitor.open(find_path(sagas))
        path = PICTURES / f"{name}-{scheme}.png"
        visitor.page.screenshot(path=path)
        assert path.stat().st_size > 10_000
