"""What the URL of a saga's page selects: view, step, history filter and list positions.

All tabs share one selection: a step selected in one of them is selected in the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from django.utils.http import urlencode

LIST_FILTERS = "_changelist_filters"  # the admin's parameter with the query of the list that a page was opened from
MAX_NUMBER_CHARS = 18  # always fits a bigint
MAX_NAME_CHARS = 60  # of a step

Choice = TypeVar("Choice", bound=StrEnum)
Default = TypeVar("Default")


class Tab(StrEnum):
    """Views of one saga."""

    FLOW = "flow"
    TIMELINE = "timeline"
    GRAPH = "graph"
    STEPS = "steps"
    EVENTS = "events"
    HISTORY = "history"


# The views of each style of coordination; the first is shown by default.
ORCHESTRATION_TABS = (Tab.TIMELINE, Tab.GRAPH, Tab.STEPS, Tab.HISTORY)
CHOREOGRAPHY_TABS = (Tab.FLOW, Tab.TIMELINE, Tab.EVENTS, Tab.HISTORY)


class Only(StrEnum):
    """Filters of the history."""

    ALL = ""
    FAILURES = "failures"
    OPERATORS = "people"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is shown of a saga."""

    tab: Tab | None = None
    """The view; None: the first of the saga's."""
    step: str = ""
    """The selected step; empty: none."""
    only: Only = Only.ALL
    """Filter of the history."""
    attempts_before: int | None = None
    """Show attempts older than this id; None: the newest."""
    history_before: int | None = None
    """Show history before this number; None: the newest."""
    filters: str = ""
    """Query of the list that the page was opened from."""

    def url(self, **changes: Any) -> str:
        """Return the query string of this selection with changes; empty values are left out."""
        wanted = replace(self, **changes)
        values = {
            "tab": wanted.tab.value if wanted.tab else "",
            "step": wanted.step,
            "only": wanted.only.value,
            "attempts_before": wanted.attempts_before,
            "history_before": wanted.history_before,
            LIST_FILTERS: wanted.filters,
        }
        return f"?{urlencode({name: value for name, value in values.items() if value})}"

    def url_of_tab(self, tab: Tab, step: str | None = None) -> str:
        """Return the query string of a view from its beginning, with the given or else the current step selected."""
        return Selection(tab=tab, step=self.step if step is None else step, filters=self.filters).url()


def parse_selection(params: Mapping[str, Any]) -> Selection:
    """Return the selection of a URL; an invalid value counts as absent."""
    return Selection(
        tab=_parse(Tab, params.get("tab"), None),
        step=str(params.get("step") or "")[:MAX_NAME_CHARS].replace("\x00", ""),
        only=_parse(Only, params.get("only"), Only.ALL),
        attempts_before=parse_number(params.get("attempts_before")),
        history_before=parse_number(params.get("history_before")),
        filters=str(params.get(LIST_FILTERS) or ""),
    )


def parse_number(text: str | None) -> int | None:
    """Return the whole number in a URL parameter, or None when it is none."""
    if not text or not (text.isascii() and text.isdigit()) or len(text) > MAX_NUMBER_CHARS:
        return None
    return int(text)


def _parse(choices: type[Choice], value: Any, default: Default) -> Choice | Default:
    try:
        return choices(value)
    except ValueError:
        return default
