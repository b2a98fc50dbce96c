"""Scenarios: how the explorer starts a saga of a definition and counts its effects in the world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..core.definition.saga import SagaDefinition
from ..exceptions import DefinitionNotFound
from ..models import Saga


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Description of one definition for the explorer.

    It runs real step functions on a real (test) database, so every start must be independent of earlier ones.
    """

    definition: type[SagaDefinition]
    """Definition to explore."""
    start: Callable[[], Saga]
    """Function that starts one saga with rows of its own; it must have everything it needs to complete."""
    look: Callable[[Saga], Mapping[str, int]]
    """Function that counts what the saga left in the world, by name, such as ``{"captured": 1}``; zero: nothing."""
    refusals: Mapping[str, Exception] = field(default_factory=dict)
    """Refusals by step name, for steps whose class in ``refuses_on`` cannot be made from a text alone."""


_scenarios: dict[str, Scenario] = {}


def register_scenario(scenario: Scenario) -> Scenario:
    """Register a scenario for ``manage.py saga_explore``; call this in ``<app>/saga_scenarios.py``.

    Returns: the scenario.
    """
    _scenarios[scenario.definition.name] = scenario
    return scenario


def get_scenario(name: str) -> Scenario:
    """Return the scenario of a definition.

    Raises: DefinitionNotFound if no app registered one.
    """
    if name not in _scenarios:
        known = ", ".join(sorted(_scenarios)) or "none"
        raise DefinitionNotFound(f"No scenario for {name!r}; known: {known}. Register one in <app>/saga_scenarios.py.")
    return _scenarios[name]
