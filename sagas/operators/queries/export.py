"""Exports of many sagas, a page at a time: CSV for a spreadsheet, NDJSON for a program.

Pages are read by place (start and id), each with statements of its own. A cursor of the server would hold one snapshot
for as long as a slow reader takes, and keep PostgreSQL from clearing what the engine leaves behind meanwhile; this
holds no more than a page, in the database and in memory. Sagas that move meanwhile are told as of their page.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from ...core.visible import escape
from ...models import Saga
from ..presentation.documents import strip_document, write_documents
from .keyset import is_below
from .listing import ListedSaga, describe_sagas

PAGE = 200
# What a spreadsheet takes for the beginning of a formula, also in its wide, small and mathematical forms.
FORMULA_START = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212"
# What it may overlook before one: blanks but for the tab, line breaks, and what is invisible, as a byte order mark is.
OVERLOOKED = r"(?:(?!\t)[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff])*"
# Where a cell begins: by the commas of this file, or, in another locale or after an import, by other separators. Quotes
# do not help there, since a separator inside them ends the cell all the same.
FORMULA = re.compile(rf"(^|[;,|\t])({OVERLOOKED}[{FORMULA_START}])")
BREAK_START = re.compile(r"^(?=[ ]*[\t\r\n])")
COLUMNS = (
    "id", "definition", "version", "keys", "state", "display_state", "needs", "step", "step_state", "attempts",
    "last_error", "revision", "created_at", "due_at", "closed_at", "seconds",
)  # fmt: skip


class _Line:
    """Take what csv writes, and give it back."""

    def write(self, text: str) -> str:
        return text


def write_csv(queryset: QuerySet[Saga], *, with_payloads: bool) -> Iterator[str]:
    """Return the lines of a table, newest saga first: every cell quoted, none of them a formula, each saga one line.

    ``with_payloads``: whether the texts of errors are shown, and not their class alone.
    """
    writer = csv.writer(_Line(), quoting=csv.QUOTE_ALL)
    yield writer.writerow(COLUMNS)
    for page in read_pages(queryset):
        for saga in describe_sagas(page):
            yield writer.writerow([guard_cell(cell) for cell in _list_cells(saga, with_payloads)])


def write_ndjson(queryset: QuerySet[Saga], *, with_payloads: bool) -> Iterator[str]:
    """Return one JSON document a line, newest page first; see ``documents`` for its shape."""
    for page in read_pages(queryset.only("pk", "created_at")):
        for text in write_documents(saga.pk for saga in page):
            yield (text if with_payloads else strip_document(text)) + "\n"


def read_pages(queryset: QuerySet[Saga]) -> Iterator[list[Saga]]:
    """Return the sagas of a queryset, newest first, a page at a time."""
    rows = queryset.order_by("-created_at", "-pk")
    found = list(rows[:PAGE])
    while found:
        yield found
        last = found[-1]
        is_older = is_below("created_at", last.created_at, last.pk)
        found = list(rows.filter(is_older)[:PAGE]) if len(found) == PAGE else []


def guard_cell(value: Any) -> Any:
    """Return a cell that a spreadsheet shows and does not work out; its invisible characters become escapes.

    A number stays a number. An apostrophe stands before what could be a formula, wherever a cell may begin.
    Source: OWASP, CSV injection.
    """
    if not isinstance(value, str):
        return value
    marked = FORMULA.sub(r"\1'\2", value)
    if not marked.startswith("'"):
        marked = BREAK_START.sub("'", marked)
    return escape(marked)


def _list_cells(saga: ListedSaga, with_payloads: bool) -> list[Any]:
    took = (saga.closed_at - saga.created_at).total_seconds() if saga.closed_at else None
    document = {**saga.as_dict(with_errors=with_payloads), "seconds": took}
    document["keys"] = "; ".join(f"{name}={value}" for name, value in saga.keys.items())
    document["needs"] = "; ".join(saga.needs)
    return ["" if document[name] is None else document[name] for name in COLUMNS]
