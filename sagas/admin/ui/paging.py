"""Paging with a capped count and strict page numbers."""

import re
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

MAX_SHOWN_CHARS = 20
MAX_COUNT = 1_000  # twenty pages; filters and search lead further
PAGE = re.compile(r"[1-9][0-9]{0,6}")  # no list has more pages


class PagedList(ChangeList):
    """List that refuses a page that does not exist; the admin would show the first one instead.

    Raises: IncorrectLookupParameters.
    """

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        asked = request.GET.getlist(PAGE_VAR)
        if len(asked) > 1:
            raise IncorrectLookupParameters(f"{PAGE_VAR} comes {len(asked)} times; give it once.")
        if asked and asked[0] and not PAGE.fullmatch(asked[0]):
            shown = asked[0] if len(asked[0]) <= MAX_SHOWN_CHARS else "that far"
            raise IncorrectLookupParameters(f"The list has no page {shown}.")
        super().__init__(request, *args)

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows of the page."""
        if self.query != request.GET.get(SEARCH_VAR, ""):
            raise IncorrectLookupParameters("The search contains characters that are not text. Remove them.")
        try:
            super().get_results(request)
        except IncorrectLookupParameters as error:
            raise IncorrectLookupParameters(f"The list has no page {self.page_num}.") from error
        # The admin ignores the page number of a list that fits on one page.
        if self.page_num > self.paginator.num_pages:
            raise IncorrectLookupParameters(f"The list has no page {self.page_num}.")


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # not generic when it runs
    """Paginator that counts up to MAX_COUNT rows: an exact count would read every row of a table with millions."""

    @cached_property
    def count(self) -> int:
        """Number of rows that have a page."""
        return min(self._seen, MAX_COUNT)

    @cached_property
    def is_capped(self) -> bool:
        """Whether there are more rows."""
        return self._seen > MAX_COUNT

    @cached_property
    def _seen(self) -> int:
        rows = self.object_list
        if isinstance(rows, QuerySet):
            # Ordered as the list, to use its index. Without an order, the planner expects to find a thousand matches
            # soon and reads the table from its old end, although all matches are at the new one.
            return rows[: MAX_COUNT + 1].count()
        return len(rows)
