"""Filter of sagas: one table of criteria, parsed alike by the console, the API, the commands and bulks.

An invalid value is an error and never ignored: an operator who acts on all matching sagas must know that each
criterion was applied.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from ...choreography.definition import list_known
from ...conf import get_settings
from ...core.definition.saga import STEP_NAME, STORED_NAME
from ...core.states import SagaState
from ...core.visible import count_visible
from ...exceptions import BadRequest
from ...models import Saga
from ...models.saga import MANY_ATTEMPTS
from ...moments import MAX_TIMESTAMP_CHARS, TIMESTAMP_FORM, read_timestamp
from ..presentation import REASONS, DisplayState, filter_by_display
from ..time_windows import TIME_WINDOWS
from . import saga_conditions as conditions
from .failures import find_group
from .search import search_sagas

TITLES = {
    "state": "stored state", "display": "state", "needs": "needs an operator", "definition": "definition",
    "search": "search", "step": "step", "attempts": "attempts at least", "group": "failed once with",
    "failing": "fails now with", "operated": "operated on", "started": "started within", "closed": "closed",
    "since": "started since", "until": "started before",
}  # fmt: skip
CODES = frozenset({"display", "needs"})  # criteria whose values are words joined by underscores
GROUPS = frozenset({"group", "failing"})  # criteria whose values are keys of failure groups
GROUP = re.compile(r"[0-9a-f]{16}")
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
VERSIONED = re.compile(rf"(?:{STORED_NAME.pattern})(?::[1-9][0-9]{{0,8}})?")
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
MAX_SEARCH_CHARS = 200
MAX_SHOWN_CHARS = 60  # of an invalid value
STATES = tuple(state.value for state in SagaState)
SEVERAL_STATES = re.compile(f"({'|'.join(STATES)})(,({'|'.join(STATES)})){{0,{len(STATES) - 1}}}")


@dataclass(frozen=True, kw_only=True)
class SagaFilter:
    """Criteria for sagas; an empty criterion does not filter."""

    state: frozenset[SagaState] = frozenset()
    """Any of these states."""
    display: str = ""
    """A display state."""
    needs: str = ""
    """A reason why an operator must look: a hold, an attention, or ``any``."""
    definition: str = ""
    """Stored name of a definition, with ``:version`` for one version."""
    search: str = ""
    """The beginning of an id (8 characters or more) or of a business key."""
    step: str = ""
    """The step that open sagas are at."""
    attempts: int = 0
    """Least number of attempts of one step in one direction, from 2."""
    group: str = ""
    """A failure group, as the console's page of failures names it."""
    failing: str = ""
    """A failure group that open sagas still fail with: the last ended attempt of an unfinished step is of it."""
    operated: str = ""
    """Whether an operator has acted on it: yes or no."""
    started: str = ""
    """Code of the time window that it was started in."""
    closed: str = ""
    """``no`` for open ones, else when it was closed: ``today``, or the code of a time window."""
    since: datetime | None = None
    """Started at this time or later."""
    until: datetime | None = None
    """Started before this time."""

    def select(self) -> QuerySet[Saga]:
        """Return the matching sagas, newest first, from the engine's database; payloads are deferred."""
        sagas = Saga.objects.using(get_settings().database).order_by("-created_at", "-id")
        return self.narrow(sagas.defer("input", "effects_left"))

    def narrow(self, sagas: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return those of some sagas that match."""
        for name, criterion in CRITERIA.items():
            if value := getattr(self, name):
                sagas = criterion.narrow(sagas, value)
        return sagas

    def as_dict(self) -> dict[str, str]:
        """Return the criteria that are set, by name, as texts that ``parse_filter`` reads."""
        return {name: _write(value) for name in CRITERIA if (value := getattr(self, name))}

    def describe(self) -> str:
        """Return the criteria in words, without error texts; an empty string without criteria.

        Statements: one for each failure group.
        """
        return "; ".join(f"{TITLES[name]}: {_describe(name, value)}" for name, value in self.as_dict().items())


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One criterion of the filter."""

    help: str
    """What it means, for the help of commands and the description of the API."""
    narrow: Callable[[QuerySet[Saga], Any], QuerySet[Saga]]
    """Returns the sagas that match a value."""
    read: Callable[[str], Any]
    """Returns the value of a text; None when the text is invalid."""
    form: Callable[[], str]
    """Returns a description of valid values, for the error message."""
    schema: Mapping[str, Any]
    """JSON schema of a value, for the API's document."""
    max_chars: int = 60
    """Length of the longest value."""


def parse_filter(given: Mapping[str, str]) -> SagaFilter:
    """Return the filter for criteria given as names and texts.

    Raises: BadRequest for an unknown name or an invalid value; its text lists what is valid.
    """
    if unknown := sorted(set(given) - set(CRITERIA)):
        raise BadRequest(f"There is no filter {unknown[0][:MAX_SHOWN_CHARS]!r}; use one of {', '.join(CRITERIA)}.")
    return SagaFilter(**{name: parse_criterion(name, text) for name, text in given.items()})


def parse_criterion(name: str, text: Any, *, called: str = "") -> Any:
    """Return the value of one criterion. ``called``: its name in the error, if it has another one.

    Raises: BadRequest.
    """
    criterion = CRITERIA[name]
    value = criterion.read(text) if isinstance(text, str) else None
    if value is None:
        raise BadRequest(refuse_value(called or name, text, criterion.form()))
    return value


def refuse_value(name: str, value: Any, form: str) -> str:
    """Return the sentence that a value is invalid, and what would be valid."""
    shown = repr(value if len(str(value)) <= MAX_SHOWN_CHARS else f"{str(value)[:MAX_SHOWN_CHARS]}…")
    return f"{name} must be {form}, not {shown}."


def _describe(name: str, value: str) -> str:
    if name in GROUPS:
        found = find_group(value)
        return found.words if found else f"no stored failure ({value})"
    return value.replace("_", " ") if name in CODES else value


def _write(value: Any) -> str:
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _choose(help: str, choices: tuple[str, ...], narrow: Callable[[QuerySet[Saga], Any], QuerySet[Saga]]) -> Criterion:
    return Criterion(
        help=help,
        narrow=narrow,
        read=lambda text: text if text in choices else None,
        form=lambda: f"one of {', '.join(choices)}",
        schema={"type": "string", "enum": list(choices)},
    )


def _match(
    help: str,
    pattern: re.Pattern[str],
    form: Callable[[], str],
    narrow: Callable[[QuerySet[Saga], Any], QuerySet[Saga]],
    *,
    max_chars: int = 60,
) -> Criterion:
    return Criterion(
        help=help,
        narrow=narrow,
        read=lambda text: text if pattern.fullmatch(text) else None,
        form=form,
        schema={"type": "string", "pattern": f"^{pattern.pattern}$"},
        max_chars=max_chars,
    )


def _time(help: str, narrow: Callable[[QuerySet[Saga], Any], QuerySet[Saga]]) -> Criterion:
    return Criterion(
        help=help,
        narrow=narrow,
        read=read_timestamp,
        form=lambda: TIMESTAMP_FORM,
        schema={"type": "string", "format": "date-time", "maxLength": MAX_TIMESTAMP_CHARS},
        max_chars=MAX_TIMESTAMP_CHARS,
    )


def _read_states(text: str) -> frozenset[SagaState] | None:
    return frozenset(map(SagaState, text.split(","))) if SEVERAL_STATES.fullmatch(text) else None


def _read_attempts(text: str) -> int | None:
    return int(text) if NUMBER.fullmatch(text) and int(text) >= MANY_ATTEMPTS else None


def _read_search(text: str) -> str | None:
    is_readable = count_visible(text) and len(text) <= MAX_SEARCH_CHARS and not UNSTORABLE.search(text)
    return text if is_readable else None


def _list_definitions() -> str:
    known = ", ".join(sorted({definition.name for definition in list_known()})) or "none"
    return f"the name of a definition, or name:version (the code has: {known})"


CRITERIA: Mapping[str, Criterion] = {
    "state": Criterion(
        help="Its state; separate several by commas.",
        narrow=conditions.filter_by_states,
        read=_read_states,
        form=lambda: f"one or more, separated by commas, of {', '.join(STATES)}",
        schema={"type": "string", "pattern": f"^{SEVERAL_STATES.pattern}$"},
        max_chars=100,
    ),
    "display": _choose(
        "Its state as the console shows it.",
        tuple(state.value for state in DisplayState),
        lambda sagas, state: filter_by_display(sagas, DisplayState(state)),
    ),
    "needs": _choose(
        "Why it needs an operator, or `any`.", (conditions.ANY_REASON, *REASONS), conditions.filter_by_needs
    ),
    "definition": _match(
        "Its definition, or name:version.", VERSIONED, _list_definitions, conditions.filter_by_definition, max_chars=80
    ),
    "search": Criterion(
        help="The beginning of its id (8 characters or more) or of a business key.",
        narrow=search_sagas,
        read=_read_search,
        form=lambda: f"1 to {MAX_SEARCH_CHARS} visible characters, without NUL and unpaired surrogates",
        schema={"type": "string", "minLength": 1, "maxLength": MAX_SEARCH_CHARS, "pattern": r"\S"},
        max_chars=MAX_SEARCH_CHARS,
    ),
    "step": _match(
        "Its current step; open sagas only.",
        STEP_NAME,
        lambda: "the name of a step: lower-case letters, digits and underscores",
        conditions.filter_by_step,
    ),
    "attempts": Criterion(
        help=f"At least so many attempts of a step in one direction, from {MANY_ATTEMPTS}.",
        narrow=conditions.filter_by_attempts,
        read=_read_attempts,
        form=lambda: f"a number from {MANY_ATTEMPTS} to 999999999",
        schema={"type": "integer", "minimum": MANY_ATTEMPTS, "maximum": 999_999_999},
        max_chars=9,
    ),
    "group": _match(
        "A failure group, as shown on the console's failures page.",
        GROUP,
        lambda: "a failure group: 16 hexadecimal digits",
        conditions.filter_by_group,
        max_chars=16,
    ),
    "failing": _match(
        "A failure group that it still fails with; open sagas only.",
        GROUP,
        lambda: "a failure group: 16 hexadecimal digits",
        conditions.filter_by_failing,
        max_chars=16,
    ),
    "operated": _choose("Whether an operator has acted on it.", ("yes", "no"), conditions.filter_by_operated),
    "started": _choose("Started in the last minutes, hours or days.", tuple(TIME_WINDOWS), conditions.filter_by_start),
    "closed": _choose(
        "`no` for open sagas, otherwise when it was closed.",
        (conditions.OPEN, conditions.TODAY, *TIME_WINDOWS),
        conditions.filter_by_end,
    ),
    "since": _time("Started at this time or later: ISO 8601 with a time zone.", conditions.filter_since),
    "until": _time("Started before this time: ISO 8601 with a time zone.", conditions.filter_until),
}
