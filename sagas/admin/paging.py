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
            # No order: any index will do to count.
            return rows.order_by()[: MAX_COUNT + 1].count()
        return len(rows)
