"""Exports of many sagas, a page at a time: CSV for a spreadsheet, NDJSON for a program.

Pages are read by keyset pagination (start and id), each with its own statements. A server-side cursor would hold one
snapshot for as long as a slow client reads, and keep PostgreSQL from vacuuming the engine's dead rows. An export holds
no more than a page, in the database and in memory. Each saga is exported as of the time its page was read.
"""

import csv
import re
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from ...core.visible import escape
from ...models import Saga
from ..presentation.documents import strip_document, write_documents
from ..visibility import Visibility
from .keyset import is_below
from .listing import ListedSaga, describe_sagas

PAGE = 200
# Characters that begin a formula in a spreadsheet, also in their wide, small and mathematical forms.
FORMULA_START = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212"
# Characters that it may ignore before one: blanks except the tab, line breaks, and invisible ones (byte order mark).
OVERLOOKED = r"(?:(?!\t)[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff])*"
# A cell begins after a comma or, in another locale or after an import, after another separator. Quotes do not help
# there, since a separator inside them ends the cell all the same.
FORMULA = re.compile(rf"(^|[;,|\t])({OVERLOOKED}[{FORMULA_START}])")
BREAK_START = re.compile(r"^(?=[ ]*[\t\r\n])")
COLUMNS = (
    "id", "definition", "version", "keys", "state", "display_state", "needs", "step", "step_state",
    "step_display_state", "attempts", "last_error", "revision", "created_at", "due_at", "closed_at", "seconds",
)  # fmt: skip


class _Line:
    """File-like object that returns what ``csv`` writes."""

    def write(self, text: str) -> str:
        return text


def write_csv(queryset: QuerySet[Saga], visibility: Visibility) -> Iterator[str]:
    """Yield the lines of a table, newest saga first: every cell quoted, no cell a formula, one line a saga.

    ``visibility``: of the last error; a table holds no payloads.
    """
    writer = csv.writer(_Line(), quoting=csv.QUOTE_ALL)
    yield writer.writerow(COLUMNS)
    for page in read_pages(queryset):
        for saga in describe_sagas(page):
            yield writer.writerow([guard_cell(cell) for cell in _list_cells(saga, with_errors=visibility.has_errors)])


def write_ndjson(queryset: QuerySet[Saga], visibility: Visibility) -> Iterator[str]:
    """Yield one JSON document a line, newest page first; see ``presentation.documents`` for its shape."""
    for page in read_pages(queryset.only("pk", "created_at")):
        for text in write_documents(saga.pk for saga in page):
            yield strip_document(text, visibility) + "\n"


def read_pages(queryset: QuerySet[Saga]) -> Iterator[list[Saga]]:
    """Yield the sagas of a queryset, newest first, a page at a time."""
    rows = queryset.order_by("-created_at", "-pk")
    found = list(rows[:PAGE])
    while found:
        yield found
        last = found[-1]
        is_older = is_below("created_at", last.created_at, last.pk)
        found = list(rows.filter(is_older)[:PAGE]) if len(found) == PAGE else []


def guard_cell(value: Any) -> Any:
    """Return a cell that a spreadsheet shows but does not evaluate; its invisible characters become escapes.

    A number stays a number. An apostrophe is put before a possible formula, wherever a cell may begin.
    Source: OWASP, CSV injection.
    """
    if not isinstance(value, str):
        return value
    marked = FORMULA.sub(r"\1'\2", value)
    if not marked.startswith("'"):
        marked = BREAK_START.sub("'", marked)
    return escape(marked)


def _list_cells(saga: ListedSaga, *, with_errors: bool) -> list[Any]:
    took = (saga.closed_at - saga.created_at).total_seconds() if saga.closed_at else None
    document = {**saga.as_dict(with_errors=with_errors), "seconds": took}
    document["keys"] = "; ".join(f"{name}={value}" for name, value in saga.keys.items())
    document["needs"] = "; ".join(saga.needs)
    return ["" if document[name] is None else document[name] for name in COLUMNS]
