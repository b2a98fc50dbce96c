"""Count no further than a person would leaf."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

MAX_COUNT = 1_000  # twenty pages; whoever looks for more filters or searches


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # not generic when it runs
    """Count up to MAX_COUNT rows: an exact count reads every row of a table with millions of them."""

    @cached_property
    def count(self) -> int:
        """How many rows can be leafed through."""
        return min(self._seen, MAX_COUNT)

    @cached_property
    def is_capped(self) -> bool:
        """Tell whether there are more."""
        return self._seen > MAX_COUNT

    @cached_property
    def _seen(self) -> int:
        rows = self.object_list
        if isinstance(rows, QuerySet):
            # In the order of the list, whose index it takes. In none, the planner expects to meet a thousand soon, and
            # reads the table from its old end although all that pass are at the new one.
            return rows[: MAX_COUNT + 1].count()
        return len(rows)
