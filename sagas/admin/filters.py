"""Narrow the list of sagas; every choice is known beforehand, and every condition has an index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from .. import registry
from ..display import REASONS, DisplayState, badge_of_state, filter_by_display, filter_by_reason, needs_person
from ..display.badges import in_words
from ..filtering import DEFINITION
from ..models import Saga
from .choosing import SPANS, ChoiceFilter
from .narrowing import MORE_FILTERS, WindowFilter


class DisplayStateFilter(ChoiceFilter):
    """Narrow by display state."""

    title = "state"
    parameter_name = "display"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        return [(state.value, badge_of_state(state).word.capitalize()) for state in DisplayState]

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that show the state."""
        return filter_by_display(queryset, DisplayState(value))


class NeedsPersonFilter(ChoiceFilter):
    """Narrow to what a person must see, all of it or for one reason."""

    title = "what needs a person"
    parameter_name = "needs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        return [("any", "Anything"), *((reason, in_words(reason).capitalize()) for reason in REASONS)]

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that need a person."""
        return queryset.filter(needs_person()) if value == "any" else filter_by_reason(queryset, value)


class DefinitionFilter(ChoiceFilter):
    """Narrow by definition, of any version or of one; also by one that the code no longer has."""

    title = "definition"
    parameter_name = "definition"
    form = "the stored name of a definition, or name:version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices: versions only where there are several."""
        versions: dict[str, list[int]] = {}
        for definition in registry.all_definitions():
            versions.setdefault(definition.name, []).append(definition.version)
        for name, known in versions.items():
            yield name, name
            if len(known) > 1:
                yield from ((f"{name}:{version}", f"{name}, version {version}") for version in known)

    def has_output(self) -> bool:
        """Tell that the filter works although there may be no choice to show."""
        return True

    def accepts(self, value: str) -> bool:
        """Tell whether a value could be a definition."""
        return DEFINITION.fullmatch(value) is not None

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows of the definition."""
        name, _, version = value.partition(":")
        found = queryset.filter(definition=name)
        return found.filter(version=int(version)) if version else found


class StartedFilter(ChoiceFilter):
    """Narrow by when a saga was started."""

    title = "start"
    parameter_name = "started"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        return [(value, label) for value, (label, _) in SPANS.items()]

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that are young enough."""
        return queryset.filter(created_at__gte=Now() - SPANS[value][1])


FILTERS = (DisplayStateFilter, NeedsPersonFilter, DefinitionFilter, StartedFilter, *MORE_FILTERS)
# Every name that the URL of the list may hold.
PARAMETERS = frozenset({choice.parameter_name for choice in FILTERS} | set(WindowFilter.names))
