"""Find sagas by id or business key, on indexes alone."""

from __future__ import annotations

import re
from uuid import UUID

from django.db.models import Q, QuerySet

from ..models import Saga, SagaKey

MAX_FOUND = 1_000  # as far as the list counts
ID_PREFIX = re.compile(r"[0-9a-f]{4,32}")
NAMED_KEY = re.compile(r"([a-z][a-z0-9_]{0,39})[:=]\s*(.+)")
HELP = "A saga id or its beginning, or a business key or its beginning: ORD-1, or order:ORD-1"


def search_sagas(queryset: QuerySet[Saga], text: str) -> QuerySet[Saga]:
    """Return the sagas that a person may mean by a text."""
    wanted = text.strip()
    if not wanted:
        return queryset
    # The ids are read first: an OR over two tables would make the planner read both of them whole.
    condition = Q(pk__in=_find_by_key(queryset.db, wanted))
    if bounds := bound_ids(wanted):
        condition |= Q(pk__gte=bounds[0], pk__lte=bounds[1])
    return queryset.filter(condition)


def bound_ids(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that begin with a text, or None when no id can."""
    digits = text.strip().lower().replace("-", "")
    if not ID_PREFIX.fullmatch(digits):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _find_by_key(using: str, text: str) -> list[UUID]:
    keys = SagaKey.objects.using(using)
    found = keys.filter(value__startswith=text)
    if named := NAMED_KEY.fullmatch(text):
        found = keys.filter(name=named[1], value__startswith=named[2]) | found
    return list(found.values_list("saga_id", flat=True)[:MAX_FOUND])
