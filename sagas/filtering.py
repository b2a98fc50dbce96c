"""Read a filter on sagas from names and values, strictly, for programs: the operators' API and the command line.

What is not understood is an error, never left out: whoever acts on all that matches must know that each part narrowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from django.db.models import QuerySet

from . import display
from .conf import get_settings
from .display import REASONS, DisplayState
from .exceptions import BadRequest
from .models import Saga
from .searching import search_sagas

DEFINITION = re.compile(r"([a-z][a-z0-9_.-]{0,59})(?::([1-9][0-9]{0,8}))?")
ANY_REASON = "any"
MAX_SEARCH_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class SagaFilter:
    """Say which sagas are meant; an empty text does not narrow."""

    display: str = ""
    """A display state."""
    needs: str = ""
    """A reason why a person must look: a hold, an attention, or ``any``."""
    definition: str = ""
    """Stored name of a definition, with ``:version`` for one version."""
    search: str = ""
    """The beginning of an id (8 characters or more) or of a business key."""

    def as_dict(self) -> dict[str, str]:
        """Return what narrows, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def words(self) -> str:
        """What narrows, in words."""
        return "; ".join(f"{name}: {value.replace('_', ' ')}" for name, value in self.as_dict().items())


def parse_filter(given: Mapping[str, str]) -> SagaFilter:
    """Return the filter of names and values.

    Raises: BadRequest for an unknown name, and for a value that is empty or none of the choices.
    """
    known = set(asdict(SagaFilter()))
    if unknown := sorted(set(given) - known):
        raise BadRequest(f"There is no filter {unknown[0][:60]!r}; there are: {', '.join(sorted(known))}.")
    if empty := sorted(name for name, value in given.items() if not value.strip()):
        raise BadRequest(f"The filter {empty[0]} is empty and would not narrow.")
    found = SagaFilter(**given)
    _require_choice("display", found.display, [state.value for state in DisplayState])
    _require_choice("needs", found.needs, [ANY_REASON, *REASONS])
    if found.definition and not DEFINITION.fullmatch(found.definition):
        raise BadRequest(f"{found.definition[:60]!r} is no definition: write name or name:version.")
    if len(found.search) > MAX_SEARCH_CHARS or "\x00" in found.search:
        raise BadRequest(f"A search has at most {MAX_SEARCH_CHARS} characters, and no NUL.")
    return found


def select_matching(wanted: SagaFilter) -> QuerySet[Saga]:
    """Return the sagas that a filter means."""
    found: QuerySet[Saga] = Saga.objects.using(get_settings().database).all()
    if wanted.display:
        found = display.filter_by_display(found, DisplayState(wanted.display))
    if wanted.needs == ANY_REASON:
        found = found.filter(display.needs_person())
    elif wanted.needs:
        found = display.filter_by_reason(found, wanted.needs)
    if wanted.definition:
        name, _, version = wanted.definition.partition(":")
        found = found.filter(definition=name)
        found = found.filter(version=int(version)) if version else found
    return search_sagas(found, wanted.search) if wanted.search else found


def _require_choice(name: str, value: str, choices: list[str]) -> None:
    if value and value not in choices:
        raise BadRequest(f"{name} has no choice {value[:60]!r}; there are: {', '.join(choices)}.")
