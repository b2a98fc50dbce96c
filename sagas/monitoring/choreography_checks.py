"""System checks of choreographies: whom they ask can be called, and every event has a sender."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from ..choreography.definition import ChoreographyDefinition, all_choreographies, resolve
from ..conf import get_settings
from ..events import catalogue
from .checks import TAG, AppConfigs
from .event_checks import are_readable


@register(TAG)
def check_choreographies(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report functions that cannot be called (E040), and senders that are missing or in another database (E041)."""
    found: list[CheckMessage] = []
    if not are_readable():
        return found  # E001 and E028 say so
    for definition in all_choreographies():
        found += [Error(what, hint=hint, id=f"{TAG}.E040") for what, hint in _find_wrong_functions(definition)]
        found += [Error(what, hint=hint, id=f"{TAG}.E041") for what, hint in _find_wrong_senders(definition)]
    return found


def _find_wrong_functions(definition: type[ChoreographyDefinition]) -> Iterator[tuple[str, str]]:
    for option in ("on_deadline", "on_cancel"):
        function = getattr(definition, option)
        try:
            if function is None or callable(resolve(function)):
                continue
            problem = "it is not callable"
        except ImportError as error:
            problem = str(error)
        what = f"{definition.name}.Meta.{option} names {function!r}, which cannot be called: {problem}."
        yield what, "Name a function that takes the saga's key."


def _find_wrong_senders(definition: type[ChoreographyDefinition]) -> Iterator[tuple[str, str]]:
    for name, sender in definition.rules().senders.items():
        if not sender:
            yield f"{definition.name} expects {name}, which no app sends.", "Declare its sender in @event(...)."
    decider = definition.decider()
    try:
        database = catalogue.database_of(decider) if decider and catalogue.is_local(decider) else ""
    except ImproperlyConfigured as error:
        yield f"{definition.name}: {error}", "Let an installed app send the event that cancels."
        return
    if database not in ("", get_settings().database):
        what = f"{decider} decides {definition.name}, but its database {database!r} is not the engine's."
        yield what, "A saga starts, and a cancel is asked for, in one transaction with the data of who decides."
