"""Read from the URL of a saga's page what the reader wants to see of it, and write it there again.

One selection for all tabs: the step chosen in one of them is chosen in the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from django.utils.http import urlencode

MAX_NUMBER_CHARS = 18  # what a bigint surely holds
MAX_NAME_CHARS = 60  # of a step

Choice = TypeVar("Choice", bound=StrEnum)


class Tab(StrEnum):
    """Name the views of one saga."""

    GRAPH = "graph"
    TIMELINE = "timeline"
    STEPS = "steps"
    HISTORY = "history"


class Only(StrEnum):
    """Name what history is narrowed to."""

    ALL = ""
    FAILURES = "failures"
    PEOPLE = "people"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Say what is shown of a saga."""

    tab: Tab = Tab.GRAPH
    """The view."""
    step: str = ""
    """The step that is chosen; empty: none."""
    only: Only = Only.ALL
    """Which history."""
    attempts_before: int | None = None
    """Attempts older than this one (its id); None: the newest."""
    history_before: int | None = None
    """History older than this number; None: the newest."""

    def url(self, **changes: Any) -> str:
        """Return the query of the same page with changes; what is not set is not written."""
        wanted = replace(self, **changes)
        values = {
            "tab": wanted.tab.value,
            "step": wanted.step,
            "only": wanted.only.value,
            "attempts_before": wanted.attempts_before,
            "history_before": wanted.history_before,
        }
        return f"?{urlencode({name: value for name, value in values.items() if value})}"

    def url_of_tab(self, tab: Tab, step: str | None = None) -> str:
        """Return the query of a view from its beginning, with this step chosen, else the present one."""
        return Selection(tab=tab, step=self.step if step is None else step).url()


def parse_selection(params: Mapping[str, Any]) -> Selection:
    """Return what a URL asks for; what it says wrong counts as not said."""
    return Selection(
        tab=_parse(Tab, params.get("tab"), Tab.GRAPH),
        step=str(params.get("step") or "")[:MAX_NAME_CHARS].replace("\x00", ""),
        only=_parse(Only, params.get("only"), Only.ALL),
        attempts_before=parse_number(params.get("attempts_before")),
        history_before=parse_number(params.get("history_before")),
    )


def parse_number(text: str | None) -> int | None:
    """Return a positive number out of a URL, or None when it is none."""
    if not text or not (text.isascii() and text.isdigit()) or len(text) > MAX_NUMBER_CHARS:
        return None
    return int(text)


def _parse(choices: type[Choice], value: Any, default: Choice) -> Choice:
    try:
        return choices(value)
    except ValueError:
        return default
