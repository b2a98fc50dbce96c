"""Find sagas by what a person has at hand: an id or a business key, or the beginning of one, or the key of a step.

On indexes alone.
"""

from __future__ import annotations

import re
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from .models import Saga, SagaKey

# Eight characters of an id are about one minute of starts; fewer would find weeks of them.
MIN_PREFIX_CHARS = 8
ID_DIGITS = 32
ID_PREFIX = re.compile(r"[0-9A-Fa-f-]{8,36}")
# Of an action, and with a suffix of its compensation: what logs and providers show.
STEP_KEY = re.compile(r"([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}):.*")
NAMED_KEY = re.compile(r"([a-z][a-z0-9_]{0,39})[:=]\s*(.+)")
MAX_READ = 1_000  # ids that a statement holds; whose key begins with what more have is told row by row
HELP = (
    "A saga id or its first 8 characters or more, the key of a step, or a business key or its beginning: ORD-1, or"
    " order:ORD-1"
)


def search_sagas(queryset: QuerySet[Saga], text: str) -> QuerySet[Saga]:
    """Return every saga of a queryset that a person may mean by a text; none for a blank one.

    A business key is looked for as it is typed; only if none begins so, in upper case, as most numbers are written.
    """
    wanted = text.strip()
    if not wanted:
        return queryset.none()
    condition = _match_keys(queryset.db, wanted)
    if bounds := bound_ids(wanted):
        condition |= Q(pk__range=bounds)
    return queryset.filter(condition)


def is_id_prefix(text: str) -> bool:
    """Tell whether a text can be a saga's id or the beginning of one, long enough to search by."""
    digits = text.replace("-", "")
    return bool(ID_PREFIX.fullmatch(text)) and MIN_PREFIX_CHARS <= len(digits) <= ID_DIGITS


def read_step_key(text: str) -> UUID | None:
    """Return the id of the saga that a step key, also that of a compensation, belongs to; None when it is none."""
    found = STEP_KEY.fullmatch(text)
    return UUID(found[1]) if found else None


def bound_ids(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that a text, or the saga of a step key, begins with; None when no id can."""
    if whole := read_step_key(text):
        return whole, whole
    if not is_id_prefix(text):
        return None
    digits = text.replace("-", "")
    return UUID(digits.ljust(ID_DIGITS, "0")), UUID(digits.ljust(ID_DIGITS, "f"))


def _match_keys(using: str, text: str) -> Q:
    """Return the condition that a business key of a saga begins with a text.

    Few ids are read first: with their keys inside its statement the planner would leaf through all sagas, newest first,
    until it has met enough of them, or read both tables whole for an OR. Of many it meets enough soon; to cut them
    would lose those that the other filters look for.
    """
    found, ids = _read_keys(using, text)
    if not ids and text != text.upper():
        found, ids = _read_keys(using, text, as_typed=False)
    return Q(pk__in=ids) if len(ids) <= MAX_READ else Q(Exists(found.filter(saga=OuterRef("pk"))))


def _read_keys(using: str, text: str, *, as_typed: bool = True) -> tuple[QuerySet[SagaKey], list[UUID]]:
    """Return the business keys that begin with a text, and the ids of their sagas, one more than are held at most."""

    def spell(value: str) -> str:
        return value if as_typed else value.upper()

    keys = SagaKey.objects.using(using)
    found = keys.filter(value__startswith=spell(text))
    if named := NAMED_KEY.fullmatch(text):
        found = keys.filter(name=named[1], value__startswith=spell(named[2])) | found
    return found, list(found.values_list("saga_id", flat=True)[: MAX_READ + 1])
