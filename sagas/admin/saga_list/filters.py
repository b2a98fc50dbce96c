"""Filters beside the list. They only draw the criteria of ``SagaFilter``, which defines values and conditions."""

from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import Any

from django.contrib.admin import ListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from ...choreography.definition import list_known
from ...models import Saga
from ...moments import read_timestamp
from ...operators.presentation import REASONS, DisplayState, badge_of_state
from ...operators.presentation.badges import in_words
from ...operators.queries.saga_conditions import ANY_REASON, OPEN, TODAY
from ...operators.queries.saga_filter import NUMBER
from ...operators.time_windows import TIME_WINDOWS
from ..ui.base_filter import CriterionFilter, narrow_list
from ..ui.list_order import OrderFilter, PositionFilter


class DisplayStateFilter(CriterionFilter):
    """Filter by display state."""

    title = "state"
    parameter_name = "display"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the values and labels."""
        return [(state.value, badge_of_state(state).word.capitalize()) for state in DisplayState]


class NeedsOperatorFilter(CriterionFilter):
    """Filter for sagas that need an operator, for any reason or for one."""

    title = "hold or attention"
    parameter_name = "needs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the values and labels."""
        return [(ANY_REASON, "Any"), *((reason, in_words(reason).capitalize()) for reason in REASONS)]


class DefinitionFilter(CriterionFilter):
    """Filter by definition, in any version or in one; definitions that the code no longer has work too."""

    title = "definition"
    parameter_name = "definition"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the definitions; versions only where there are several."""
        versions: dict[str, list[int]] = {}
        for definition in list_known():
            versions.setdefault(definition.name, []).append(definition.version)
        for name, known in versions.items():
            yield name, name
            if len(known) > 1:
                yield from ((f"{name}:{version}", f"{name}, version {version}") for version in known)


class StartedFilter(CriterionFilter):
    """Filter by the time of the start."""

    title = "start"
    parameter_name = "started"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the values and labels."""
        return [(window.code, window.label) for window in TIME_WINDOWS.values()]


class ClosedFilter(CriterionFilter):
    """Filter by the time of the end, or for open sagas."""

    title = "end"
    parameter_name = "closed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the values and labels."""
        windows = [(window.code, f"Closed in the {window.label.lower()}") for window in TIME_WINDOWS.values()]
        return [(OPEN, "Still open"), (TODAY, "Closed today"), *windows]


class StepFilter(CriterionFilter):
    """Filter for open sagas at a step."""

    title = "current step"
    parameter_name = "step"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the steps of every definition."""
        names = {step.name for definition in list_known() for step in definition.steps}
        return [(name, name) for name in sorted(names)]


class AttemptsFilter(CriterionFilter):
    """Filter for sagas with a step that had at least so many attempts in one direction."""

    title = "attempts of a step"
    parameter_name = "attempts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return common numbers and the one in the URL, which accepts any other."""
        numbers = sorted({2, 4, 10, *([int(value)] if (value := self.value()) and NUMBER.fullmatch(value) else [])})
        return [(str(number), f"{number} or more") for number in numbers]


class OperatedFilter(CriterionFilter):
    """Filter by whether an operator has acted on the saga."""

    title = "operation"
    parameter_name = "operated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the values and labels."""
        return [("yes", "Operated on"), ("no", "Not operated on")]


class GroupFilter(CriterionFilter):
    """Filter for sagas that failed in one failure group, at any time; the failures page links here."""

    title = "failure group"
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the group in the URL; the failures page lists the others."""
        value = self.value()
        return [(value, f"Group {value[:16]}")] if value is not None else []

    def has_output(self) -> bool:
        """Return whether the URL names a group."""
        return self.value() is not None


class FailingFilter(GroupFilter):
    """Filter for open sagas that fail in one failure group now; bulks of the failures page use it."""

    title = "current failure group"
    parameter_name = "failing"


class WindowFilter(ListFilter):
    """Filter for sagas started between two moments, either of which may be omitted."""

    title = "start between (UTC)"
    template = "admin/sagas/filters/window.html"
    parameter_name = "since"  # one name for code that expects one; the URL may hold both
    names = ("since", "until")

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.names:
            if name in params:
                self.used_parameters[name] = str(params.pop(name)[-1])

    def has_output(self) -> bool:
        """Return True: there is always a form."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Return the parameters of the filter."""
        return list(self.names)

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the values of the form and the other parameters that it must keep."""
        kept = {name: value for name, value in changelist.params.items() if name not in (*self.names, "p", "e")}
        shown = {name: self.used_parameters.get(name, "") for name in self.names}
        cleared = changelist.get_query_string(remove=list(self.names))
        yield {**shown, "kept": kept, "is_set": bool(self.used_parameters), "cleared": cleared}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return the rows started between the two moments."""
        return narrow_list(queryset, {name: add_zone(str(text)) for name, text in self.used_parameters.items() if text})


def add_zone(text: str) -> str:
    """Return a timestamp with a zone, UTC by default: the browser's ``datetime-local`` field has none."""
    found = read_timestamp(text, zone=UTC)
    return found.isoformat() if found else text


CRITERION_FILTERS = (
    DisplayStateFilter, NeedsOperatorFilter, DefinitionFilter, StartedFilter, ClosedFilter, StepFilter, AttemptsFilter,
    OperatedFilter, GroupFilter, FailingFilter,
)  # fmt: skip
FILTERS = (*CRITERION_FILTERS, WindowFilter, OrderFilter, PositionFilter)
# Parameters that can freeze a bulk, and all parameters that the list's URL may have.
FROZEN = frozenset({str(one.parameter_name) for one in CRITERION_FILTERS} | set(WindowFilter.names))
PARAMETERS = FROZEN | {str(one.parameter_name) for one in (OrderFilter, PositionFilter)}
