"""Say how the explorer starts a saga of a definition, and how it sees what a saga left in the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..core.definition.saga import SagaDefinition
from ..exceptions import DefinitionNotFound
from ..models import Saga


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Describe one definition to the explorer.

    It runs real step functions on a real (test) database, so every start must be independent of those before.
    """

    definition: type[SagaDefinition]
    """What is explored."""
    start: Callable[[], Saga]
    """Start one saga with rows of its own; enough of everything must be there for it to complete."""
    look: Callable[[Saga], Mapping[str, int]]
    """Count what the saga has left in the world, by name, such as ``{"captured": 1}``; zero: nothing is left."""
    refusals: Mapping[str, Exception] = field(default_factory=dict)
    """What a step is refused with, by name, where the class in ``refuses_on`` cannot be made from a text alone."""


_scenarios: dict[str, Scenario] = {}


def register_scenario(scenario: Scenario) -> Scenario:
    """Make a scenario known to ``manage.py saga_explore``; call it in ``<app>/saga_scenarios.py``.

    Returns: the scenario.
    """
    _scenarios[scenario.definition.name] = scenario
    return scenario


def get_scenario(name: str) -> Scenario:
    """Return the scenario of a definition.

    Raises: DefinitionNotFound when no app registered one.
    """
    if name not in _scenarios:
        known = ", ".join(sorted(_scenarios)) or "none"
        raise DefinitionNotFound(
            f"There is no scenario for {name!r}; known are: {known}. Register one in <app>/saga_scenarios.py."
        )
    return _scenarios[name]
