"""Read a filter on sagas from names and values, strictly, for programs: the operators' API and the command line.

What is not understood is an error, never left out: whoever acts on all that matches must know that each part narrowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from . import display
from .conf import get_settings
from .definition import STEP_NAME
from .display import REASONS, DisplayState
from .display.filters import IS_OPEN
from .exceptions import BadRequest
from .models import Saga, SagaAttempt, SagaStep
from .models.saga import MANY_ATTEMPTS
from .searching import search_sagas
from .states import Direction, StepState
from .visible_text import has_visible

DEFINITION = re.compile(r"([a-z][a-z0-9_.-]{0,59})(?::([1-9][0-9]{0,8}))?")
GROUP = re.compile(r"[0-9a-f]{16}")
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
ANY_REASON = "any"
TOUCHES = ("yes", "no")
MAX_MOMENT_CHARS = 40
# Where a step is neither over nor yet to come.
AT_WORK = [
    state.value
    for state in (
        StepState.RUNNING, StepState.WAITING, StepState.UNKNOWN, StepState.COMPENSATING, StepState.REFUSED,
    )
]  # fmt: skip
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
    step: str = ""
    """The step that open sagas are at."""
    attempts: str = ""
    """At least so many for one step in one direction, from 2."""
    group: str = ""
    """A failure group, as the console's page of failures names it."""
    failing: str = ""
    """A failure group that open sagas are at still: the last attempt of a step that is not over was of it."""
    touched: str = ""
    """Whether a person has acted on it: yes or no."""
    since: str = ""
    """Started then or later; ISO 8601 with a zone."""
    until: str = ""
    """Started before then; ISO 8601 with a zone."""

    def as_dict(self) -> dict[str, str]:
        """Return what narrows, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def words(self) -> str:
        """What narrows, in words."""
        codes = {"display": self.display.replace("_", " "), "needs": self.needs.replace("_", " ")}
        return "; ".join(f"{name}: {codes.get(name, value)}" for name, value in self.as_dict().items())


def parse_filter(given: Mapping[str, str]) -> SagaFilter:
    """Return the filter of names and values.

    Raises: BadRequest for an unknown name, and for a value that is empty or none of the choices.
    """
    known = set(asdict(SagaFilter()))
    if unknown := sorted(set(given) - known):
        raise BadRequest(f"There is no filter {unknown[0][:60]!r}; there are: {', '.join(sorted(known))}.")
    if wrong := sorted(name for name, value in given.items() if not isinstance(value, str)):
        raise BadRequest(f"The filter {wrong[0]} is text, not {type(given[wrong[0]]).__name__}.")
    if empty := sorted(name for name, value in given.items() if not has_visible(value)):
        raise BadRequest(f"The filter {empty[0]} is empty and would not narrow.")
    found = SagaFilter(**given)
    _require_choice("display", found.display, [state.value for state in DisplayState])
    _require_choice("needs", found.needs, [ANY_REASON, *REASONS])
    if found.definition and not DEFINITION.fullmatch(found.definition):
        raise BadRequest(f"{found.definition[:60]!r} is no definition: write name or name:version.")
    if len(found.search) > MAX_SEARCH_CHARS or UNSTORABLE.search(found.search):
        raise BadRequest(f"A search has at most {MAX_SEARCH_CHARS} characters, no NUL and no half of a character.")
    _require_form("step", found.step, STEP_NAME, "the name of a step")
    _require_form("group", found.group, GROUP, "a failure group")
    _require_form("failing", found.failing, GROUP, "a failure group")
    _require_form("attempts", found.attempts, NUMBER, "a number")
    if found.attempts and int(found.attempts) < MANY_ATTEMPTS:
        raise BadRequest(f"attempts below {MANY_ATTEMPTS} would not narrow.")
    _require_choice("touched", found.touched, list(TOUCHES))
    for name in ("since", "until"):
        if (text := getattr(found, name)) and _parse_moment(text) is None:
            raise BadRequest(f"{name} is no moment with a zone, such as 2026-11-20T03:00:00Z: {text[:60]!r}.")
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
    found = _narrow_further(found, wanted)
    return search_sagas(found, wanted.search) if wanted.search else found


def narrow_to_step(sagas: QuerySet[Saga], step: str) -> QuerySet[Saga]:
    """Return the open sagas that are at a step: it is held, live or waits; also at one that the code has lost."""
    steps = SagaStep.objects.using(get_settings().database).filter(
        _is_there(), saga=OuterRef("pk"), name=step, state__in=AT_WORK
    )
    return sagas.filter(IS_OPEN, Exists(steps))


def narrow_to_attempts(sagas: QuerySet[Saga], number: int) -> QuerySet[Saga]:
    """Return the sagas one of whose steps had at least so many attempts in one direction."""
    # The index begins where a second attempt was needed; every saga has one attempt, or will have.
    return sagas.filter(most_attempts__gte=number) if number >= MANY_ATTEMPTS else sagas


def narrow_to_group(sagas: QuerySet[Saga], group: str) -> QuerySet[Saga]:
    """Return the sagas with an attempt of a failure group."""
    # Said twice, so that the index of failures alone is seen to fit.
    attempts = SagaAttempt.objects.using(get_settings().database)
    failed = attempts.exclude(error_group="").filter(saga=OuterRef("pk"), error_group=group)
    return sagas.filter(Exists(failed))


def narrow_to_failing(sagas: QuerySet[Saga], group: str) -> QuerySet[Saga]:
    """Return the open sagas that are at a failure group still, not those that have got over it.

    That is: one of its steps is held, live or waits, and its last attempt that ended, in the direction it goes, was of
    the group.
    """
    attempts = SagaAttempt.objects.using(get_settings().database)
    same_way = attempts.filter(step=OuterRef("step"), direction=OuterRef("direction"))
    # One look by index for each attempt of the group; a join could be read the other way round, from all attempts.
    last = same_way.filter(ended_at__isnull=False).order_by("-number").values("number")[:1]
    is_back = Q(step__state=StepState.COMPENSATING.value)
    goes_on = is_back & Q(direction=Direction.COMPENSATION.value) | ~is_back & Q(direction=Direction.ACTION.value)
    failed = attempts.exclude(error_group="").filter(
        _is_there("step__"), goes_on, saga=OuterRef("pk"), error_group=group, step__state__in=AT_WORK,
        number=Subquery(last),
    )  # fmt: skip
    return sagas.filter(IS_OPEN, Exists(failed))


def narrow_to_touch(sagas: QuerySet[Saga], touched: str) -> QuerySet[Saga]:
    """Return the sagas that a person has acted on (``yes``), or that nobody has (``no``)."""
    return sagas.filter(touched_at__isnull=touched == "no")


def _is_there(prefix: str = "") -> Q:
    """Return the condition of a step that is held, live or waits."""
    return (
        Q(**{f"{prefix}hold__isnull": False})
        | Q(**{f"{prefix}lease_token__isnull": False})
        | Q(**{f"{prefix}due_at__isnull": False})
    )


def _narrow_further(sagas: QuerySet[Saga], wanted: SagaFilter) -> QuerySet[Saga]:
    found = narrow_to_step(sagas, wanted.step) if wanted.step else sagas
    found = narrow_to_attempts(found, int(wanted.attempts)) if wanted.attempts else found
    found = narrow_to_group(found, wanted.group) if wanted.group else found
    found = narrow_to_failing(found, wanted.failing) if wanted.failing else found
    found = narrow_to_touch(found, wanted.touched) if wanted.touched else found
    found = found.filter(created_at__gte=_parse_moment(wanted.since)) if wanted.since else found
    return found.filter(created_at__lt=_parse_moment(wanted.until)) if wanted.until else found


def _parse_moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if len(text) <= MAX_MOMENT_CHARS and text.isascii() else None
        if moment is None or moment.tzinfo is None:
            return None
        # At the ends of the calendar the database's zone could lead beyond it.
        utc = moment.astimezone(UTC)
        return utc if utc - timedelta(days=2) < utc + timedelta(days=2) else None
    except (ValueError, OverflowError):
        return None


def _require_form(name: str, value: str, form: re.Pattern[str], words: str) -> None:
    if value and not form.fullmatch(value):
        raise BadRequest(f"{name} is not {words}: {value[:60]!r}.")


def _require_choice(name: str, value: str, choices: list[str]) -> None:
    if value and value not in choices:
        raise BadRequest(f"{name} has no choice {value[:60]!r}; there are: {', '.join(choices)}.")
