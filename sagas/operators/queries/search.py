"""Search of sagas by an id or a business key, by the beginning of either, or by a step key.

On indexes alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import BooleanField, Exists, F, Func, OrderBy, OuterRef, Q, QuerySet, Subquery
from django.db.models.lookups import IsNull

from ...models import Saga, SagaKey

# Eight characters of an id are about one minute of starts; fewer would find weeks of them.
MIN_PREFIX_CHARS = 8
ID_DIGITS = 32
ID_PREFIX = re.compile(r"[0-9A-Fa-f-]{8,36}")
# The key of an action or, with a suffix, of its compensation, as logs and providers show it.
STEP_KEY = re.compile(r"([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}):.*")
NAMED_KEY = re.compile(r"([a-z][a-z0-9_]{0,39})[:=]\s*(.+)")
# A prefix of more keys than this is common: its sagas are not sorted, but searched among the newest.
MAX_KEYS = 10_000
MAX_LOOKED_THROUGH = 10_000
# The order is that of the prefix index, as in _Bytewise.
COUNT = """
    SELECT %s::int, count(*), count(*) FILTER (WHERE %s::text = '' OR name = %s::text) FROM (
        SELECT name FROM sagas_sagakey WHERE value::text LIKE %s ORDER BY value USING ~<~ LIMIT %s
    ) AS counted
"""
HELP = (
    "A saga id or at least its first 8 characters, a step key, or a business key or its beginning: ORD-1, or"
    " order:ORD-1"
)


class _Bytewise(OrderBy):
    """Order of the prefix index, so that reading the first keys reads that index and not the table."""

    template = "%(expression)s USING ~<~ /* ASC */"  # Django searches for the direction and finds it in the comment


class _Array(Subquery):
    """Array of the values that a subquery returns."""

    template = "(ARRAY(%(subquery)s))"


class _OneOf(Func):
    """Condition that a value is one of those that a subquery returns.

    Unlike with IN, the subquery is read first, whatever row count the planner estimates. With IN it might scan all
    sagas, newest first, until enough of them match.
    """

    template = "%(expressions)s"
    arg_joiner = " = ANY "
    output_field = BooleanField()

    def __init__(self, name: str, values: QuerySet[SagaKey, Any]) -> None:
        super().__init__(F(name), _Array(values))


@dataclass(frozen=True)
class _Beginning:
    """Prefix of a business key's value, and the key's name; an empty name: any."""

    value: str
    name: str = ""

    def find_keys(self, using: str) -> QuerySet[SagaKey]:
        """Return the keys with this prefix."""
        named = {"name": self.name} if self.name else {}
        return SagaKey.objects.using(using).filter(value__startswith=self.value, **named)

    def find_sagas(self, using: str) -> QuerySet[SagaKey, Any]:
        """Return the ids of the sagas of the keys with this prefix, read by index; all of them, unless it is common."""
        return self.find_keys(using).order_by(_Bytewise(F("value"))).values("saga_id")[: MAX_KEYS + 1]


def _count_keys(using: str, beginnings: Sequence[_Beginning]) -> list[tuple[int, int]]:
    """Count the keys of each prefix, by one statement: of any name, up to one more than MAX_KEYS, and of its name."""
    # Under any name: a common prefix may be rare under one name, and counting that would read all of its keys.
    patterns = [f"{connections[using].ops.prep_for_like_query(one.value)}%" for one in beginnings]
    values: list[list[Any]] = [
        [place, one.name, one.name, patterns[place], MAX_KEYS + 1] for place, one in enumerate(beginnings)
    ]
    with connections[using].cursor() as cursor:
        cursor.execute(" UNION ALL ".join([COUNT] * len(beginnings)), [value for part in values for value in part])
        found = {place: (total, named) for place, total, named in cursor.fetchall()}
    return [found[place] for place in range(len(beginnings))]


class Search:
    """Search for sagas by a text: the beginning of an id or of a business key, or a step key.

    Business keys are searched as typed and, only if none matches, in upper case, as most numbers are written.
    Statements: one to count the matching keys, up to MAX_KEYS of each spelling.
    """

    def __init__(self, using: str, text: str) -> None:
        self.using = using
        self.text = text.strip()

    @cached_property
    def is_common(self) -> bool:
        """Whether more keys match than are read to find their sagas."""
        return self._keys[1]

    def narrow(self, sagas: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return all matching sagas; none for a blank text."""
        if not self.text:
            return sagas.none()
        beginnings, is_common = self._keys
        condition = Q()
        for beginning in beginnings:
            if is_common:
                condition |= Q(Exists(beginning.find_keys(self.using).filter(saga=OuterRef("pk"))))
            else:
                condition |= Q(_OneOf("pk", beginning.find_sagas(self.using)))
        return sagas.filter(condition | self._match_ids())

    def narrow_newest(self, sagas: QuerySet[Saga]) -> tuple[QuerySet[Saga], Saga | None]:
        """Return the matching sagas among the newest; all matching ones if the text is not common.

        Returns: the sagas, and the oldest saga that was searched; None when all were.
        """
        oldest = self._find_oldest(sagas) if self.text and self.is_common else None
        if oldest is None:
            return self.narrow(sagas), None
        condition = Q()
        for beginning in self._keys[0]:
            # A subquery for each row: a join could be planned the other way round, from all keys with the prefix.
            keys = beginning.find_keys(self.using).filter(saga=OuterRef("pk")).values("pk")[:1]
            condition |= Q(IsNull(Subquery(keys), False))
        return sagas.filter(Q(created_at__gte=oldest.created_at) & condition | self._match_ids()), oldest

    @cached_property
    def _keys(self) -> tuple[tuple[_Beginning, ...], bool]:
        """The prefixes of keys to search for, and whether one of them is common."""
        spellings = list(dict.fromkeys((self.text, self.text.upper())))
        beginnings = [_list_beginnings(self.text, spelling) for spelling in spellings]
        counts = iter(_count_keys(self.using, [one for each in beginnings for one in each]))
        found: dict[_Beginning, bool] = {}
        for each in beginnings:
            # Of a common prefix the names of the keys beyond those counted are unknown.
            here = {one: (total > MAX_KEYS, named) for one, (total, named) in zip(each, counts, strict=False)}
            found = found or {one: is_common for one, (is_common, named) in here.items() if named or is_common}
        return tuple(found), any(found.values())

    def _match_ids(self) -> Q:
        bounds = bound_ids(self.text)
        return Q(pk__range=bounds) if bounds else Q(pk__in=[])

    def _find_oldest(self, sagas: QuerySet[Saga]) -> Saga | None:
        """Return the last of the MAX_LOOKED_THROUGH newest sagas; None when there are no older ones."""
        newest = sagas.order_by("-created_at", "-id").only("created_at")
        found = list(newest[MAX_LOOKED_THROUGH - 1 : MAX_LOOKED_THROUGH + 1])
        return found[0] if len(found) > 1 else None


def _list_beginnings(text: str, spelling: str) -> list[_Beginning]:
    """Return the prefixes that one spelling of a text may mean: of a value, and of the value of a named key."""
    found = [_Beginning(spelling)]
    if named := NAMED_KEY.fullmatch(text):
        found.append(_Beginning(named[2] if spelling == text else named[2].upper(), named[1]))
    return found


def search_sagas(queryset: QuerySet[Saga], text: str) -> QuerySet[Saga]:
    """Return every saga of a queryset that matches a text; none for a blank one."""
    return Search(queryset.db, text).narrow(queryset)


def is_id_prefix(text: str) -> bool:
    """Return whether a text can be a saga's id or a prefix of one, long enough to search by."""
    digits = text.replace("-", "")
    return bool(ID_PREFIX.fullmatch(text)) and MIN_PREFIX_CHARS <= len(digits) <= ID_DIGITS


def read_step_key(text: str) -> UUID | None:
    """Return the id of the saga of a step key, also of a compensation's key; None when the text is no step key."""
    found = STEP_KEY.fullmatch(text)
    return UUID(found[1]) if found else None


def bound_ids(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that a prefix or a step key can mean; None when it can mean none."""
    if whole := read_step_key(text):
        return whole, whole
    if not is_id_prefix(text):
        return None
    digits = text.replace("-", "")
    return UUID(digits.ljust(ID_DIGITS, "0")), UUID(digits.ljust(ID_DIGITS, "f"))
