"""The filters beside the list: they draw the criteria of ``SagaFilter``, whose values and conditions are its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import Any

from django.contrib.admin import ListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from ...core.definition import registry
from ...models import Saga
from ...moments import read_timestamp
from ...operators.presentation import REASONS, DisplayState, badge_of_state
from ...operators.presentation.badges import in_words
from ...operators.queries.saga_conditions import ANY_REASON, OPEN, TODAY
from ...operators.queries.saga_filter import NUMBER
from ...operators.time_windows import TIME_WINDOWS
from ..ui.base_filter import CriterionFilter, narrow_list
from ..ui.list_order import OrderFilter, PlaceFilter


class DisplayStateFilter(CriterionFilter):
    """Narrow by display state."""

    title = "state"
    parameter_name = "display"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        return [(state.value, badge_of_state(state).word.capitalize()) for state in DisplayState]


class NeedsPersonFilter(CriterionFilter):
    """Narrow to what an operator must see, all of it or for one reason."""

    title = "what needs a person"
    parameter_name = "needs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        return [(ANY_REASON, "Anything"), *((reason, in_words(reason).capitalize()) for reason in REASONS)]


class DefinitionFilter(CriterionFilter):
    """Narrow by definition, of any version or of one; also by one that the code no longer has."""

    title = "definition"
    parameter_name = "definition"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices: versions only where there are several."""
        versions: dict[str, list[int]] = {}
        for definition in registry.all_definitions():
            versions.setdefault(definition.name, []).append(definition.version)
        for name, known in versions.items():
            yield name, name
            if len(known) > 1:
                yield from ((f"{name}:{version}", f"{name}, version {version}") for version in known)


class StartedFilter(CriterionFilter):
    """Narrow by when a saga was started."""

    title = "start"
    parameter_name = "started"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        return [(window.code, window.label) for window in TIME_WINDOWS.values()]


class ClosedFilter(CriterionFilter):
    """Narrow by when a saga was over, or to those that are not."""

    title = "end"
    parameter_name = "closed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        windows = [(window.code, f"Closed in the {window.label.lower()}") for window in TIME_WINDOWS.values()]
        return [(OPEN, "Still open"), (TODAY, "Closed today"), *windows]


class StepFilter(CriterionFilter):
    """Narrow to the open sagas that are at a step."""

    title = "step it is at"
    parameter_name = "step"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the steps of every definition."""
        names = {step.name for definition in registry.all_definitions() for step in definition.steps}
        return [(name, name) for name in sorted(names)]


class AttemptsFilter(CriterionFilter):
    """Narrow to sagas one of whose steps had at least so many attempts in one direction."""

    title = "attempts of a step"
    parameter_name = "attempts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return some numbers; any other can be written into the URL."""
        numbers = sorted({2, 4, 10, *([int(value)] if (value := self.value()) and NUMBER.fullmatch(value) else [])})
        return [(str(number), f"{number} or more") for number in numbers]


class OperatedFilter(CriterionFilter):
    """Narrow by whether an operator has acted on a saga."""

    title = "touch of a person"
    parameter_name = "operated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        return [("yes", "Touched by a person"), ("no", "Touched by nobody")]


class GroupFilter(CriterionFilter):
    """Narrow to sagas that failed in one way, at any time; the page of failures leads here."""

    title = "failure group"
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the group of the URL; which others there are is on the page of failures."""
        value = self.value()
        return [(value, f"Group {value[:16]}")] if value is not None else []

    def has_output(self) -> bool:
        """Return whether a group is chosen."""
        return self.value() is not None


class FailingFilter(GroupFilter):
    """Narrow to open sagas that fail in one way now; the page of failures acts on these."""

    title = "what it fails with now"
    parameter_name = "failing"


class WindowFilter(ListFilter):
    """Narrow to sagas started between two moments, either of which may be left open."""

    title = "start between (UTC)"
    template = "admin/sagas/filters/window.html"
    parameter_name = "since"  # for the list's own sake: the names that the URL may hold
    names = ("since", "until")

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.names:
            if name in params:
                self.used_parameters[name] = str(params.pop(name)[-1])

    def has_output(self) -> bool:
        """Return that there is a form to show."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Return the names that the URL may hold."""
        return list(self.names)

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return what the form shows, and what it must keep of the URL."""
        kept = {name: value for name, value in changelist.params.items() if name not in (*self.names, "p", "e")}
        shown = {name: self.used_parameters.get(name, "") for name in self.names}
        cleared = changelist.get_query_string(remove=list(self.names))
        yield {**shown, "kept": kept, "is_set": bool(self.used_parameters), "cleared": cleared}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return the rows started between the two."""
        return narrow_list(queryset, {name: add_zone(str(text)) for name, text in self.used_parameters.items() if text})


def add_zone(text: str) -> str:
    """Return a timestamp with its zone: the form shows UTC, and a browser's field of that kind names none."""
    found = read_timestamp(text, zone=UTC)
    return found.isoformat() if found else text


CRITERION_FILTERS = (
    DisplayStateFilter, NeedsPersonFilter, DefinitionFilter, StartedFilter, ClosedFilter, StepFilter, AttemptsFilter,
    OperatedFilter, GroupFilter, FailingFilter,
)  # fmt: skip
FILTERS = (*CRITERION_FILTERS, WindowFilter, OrderFilter, PlaceFilter)
# The criteria that the list draws, and every name that its URL may hold.
FROZEN = frozenset({str(one.parameter_name) for one in CRITERION_FILTERS} | set(WindowFilter.names))
PARAMETERS = FROZEN | {str(one.parameter_name) for one in (OrderFilter, PlaceFilter)}
