"""Page of the operator log: what operators did, and whether its signatures are intact."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.http import urlencode

from ... import clock
from ...events.operation_log import MAX_LOGGED, read_event_operations
from ...events.settings import get_event_settings
from ...operators.actor import MAX_NAME_CHARS, Actor
from ...operators.audit import verification
from ...operators.audit.operator_log import REMEDY, LoggedOperation, LogPage, LogQuery, is_place, read_log
from ...operators.event_operations import VIEW as VIEW_EVENT
from ...operators.preconditions import Operation
from ...operators.preview import LABELS
from ...operators.queries.saga_filter import refuse_value
from ...operators.time_windows import TIME_WINDOWS, TimeWindow
from ..bulks.bulk_choosing import link_to_bulks
from ..ui.addresses import find_saga_url, find_url
from ..ui.base_filter import QueryRefused, read_choice, read_once
from ..ui.console_admin import ConsoleAdmin
from ..ui.formatting import Moment, show_moment
from ..ui.spans import find_window
from ..ui.view_only import engine_database

TEMPLATE = "admin/sagas/log.html"
DEFAULT_SPAN = "30d"
ANY_TIME = "any"
NOTE, NOTE_LABEL = "note", "Note"
MAX_VERIFIED = 500  # sagas; keeps a request to a second or two, the command verifies all


@dataclass(frozen=True, kw_only=True)
class LogRow:
    """Row of one operation or note."""

    at: Moment
    actor: str
    label: str
    """What it was, in words."""
    step: str
    reason: str
    before: str
    after: str
    result: str
    evidence: str
    revision: int | None
    number: int
    """Number of the history entry."""
    saga: str
    """The saga in words."""
    url: str
    """URL of its history."""


@dataclass(frozen=True, kw_only=True)
class BulkRow:
    """Row of a confirmed or stopped bulk."""

    at: Moment
    actor: str
    what: str
    """What was done, in words."""
    words: str
    """How its sagas were selected."""
    reason: str
    url: str
    """URL of its page."""


def log_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show a page of the log; on POST also verify the sagas that operators acted on in its window.

    Raises: PermissionDenied.
    """
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    try:
        span = _read_span(request)
        wanted = _read_wanted(request, span.length if span else None)
    except QueryRefused as error:
        return model_admin.refuse_query(request, str(error))
    length = span.length if span else None
    bulks_url = link_to_bulks(request).get("bulks_url", "")
    page = read_log(wanted, with_bulks=bool(bulks_url))
    site = model_admin.admin_site.name
    context = {
        "title": "Operator log",
        "rows": list(_list_rows(page, site)),
        "bulks_url": bulks_url,
        "bulk_rows": list(_list_bulks(page, site)),
        "actor": wanted.actor,
        "operation": NOTE if wanted.is_note else wanted.operation,
        "operations": [
            *((operation.value, LABELS[operation]) for operation in Operation),
            (REMEDY, "Remedy"),
            (NOTE, NOTE_LABEL),
        ],
        "span_code": span.code if span else ANY_TIME,
        "spans": [*((span.code, span.label) for span in TIME_WINDOWS.values()), (ANY_TIME, "Any time")],
        "next_url": _describe_next(request, page),
        "is_first": not wanted.before,
        "newest_url": request.path,
        "verified": _verify(length, site) if request.method == "POST" else None,
        "max_verified": MAX_VERIFIED,
        **_read_event_operations(request, wanted, page, site),
    }
    return model_admin.render(request, TEMPLATE, context)


def _read_span(request: HttpRequest) -> TimeWindow | None:
    """Return the window of the URL, or None for any time.

    Raises: QueryRefused.
    """
    if read_once(request, "span") == ANY_TIME:
        return None
    return find_window(request, DEFAULT_SPAN)


def _read_wanted(request: HttpRequest, length: timedelta | None) -> LogQuery:
    """Return the query that the URL describes.

    Raises: QueryRefused.
    """
    code = read_choice(request, "action", [*Operation, REMEDY, NOTE])
    before = read_once(request, "before")
    if before and not is_place(before):
        raise QueryRefused(refuse_value("before", before, "a position from the links of the log"))
    since = clock.read_now(engine_database()) - length if length is not None else None
    return LogQuery(
        # PostgreSQL cannot store NUL, so no user name holds it.
        actor=read_once(request, "actor").strip().replace("\x00", "\ufffd")[:MAX_NAME_CHARS],
        operation="" if code == NOTE else code,
        is_note=code == NOTE,
        since=since,
        before=before,
    )


def _list_rows(page: LogPage, site: str) -> Iterator[LogRow]:
    for operation in page.operations:
        entry = operation.entry
        yield LogRow(
            at=show_moment(entry.at, page.now),
            actor=entry.actor or "",
            label=_label(operation),
            step=entry.step,
            reason=entry.reason,
            before=operation.before,
            after=operation.after,
            result=operation.result,
            evidence=operation.evidence,
            revision=operation.revision,
            number=entry.number,
            saga=" ".join([entry.saga.definition, *operation.keys]),
            url=find_saga_url(site, entry.saga_id, tab="history"),
        )


def _list_bulks(page: LogPage, site: str) -> Iterator[BulkRow]:
    for operation in page.bulks:
        bulk = operation.bulk
        label = LABELS[Operation(bulk.operation)] if bulk.operation in set(Operation) else bulk.operation
        yield BulkRow(
            at=show_moment(operation.at, page.now),
            actor=operation.actor,
            what=f"{'Stopped' if operation.is_stop else 'Confirmed'}: {label}, {bulk.total} sagas",
            words=bulk.words,
            reason=operation.reason,
            url=find_url(site, "sagas_sagabulk_change", bulk.pk),
        )


def _read_event_operations(request: HttpRequest, wanted: LogQuery, page: LogPage, site: str) -> dict[str, Any]:
    """Return the operations on events, beside the newest page of all operations on sagas."""
    is_filtered = bool(wanted.operation or wanted.is_note or wanted.before)
    if is_filtered or not get_event_settings().are_on or not Actor.of_user(request.user).may(VIEW_EVENT):
        return {}
    found = read_event_operations(actor=wanted.actor, since=wanted.since)
    rows = [
        (row, show_moment(row.at, page.now), find_url(site, "sagas_saga_event", query={"id": row.event_id}))
        for row in found.rows
    ]
    return {"event_rows": rows, "has_events": True, "unreachable": found.unreachable, "max_events": MAX_LOGGED}


def _label(operation: LoggedOperation) -> str:
    if not operation.operation:
        return NOTE_LABEL
    if operation.remedy:
        return operation.remedy
    return LABELS[Operation(operation.operation)] if operation.operation in set(Operation) else operation.operation


def _describe_next(request: HttpRequest, page: LogPage) -> str:
    if not page.next_place:
        return ""
    kept = {name: request.GET[name] for name in ("actor", "action", "span") if request.GET.get(name)}
    return f"?{urlencode({**kept, 'before': page.next_place})}"


def _verify(length: timedelta | None, site: str) -> dict[str, Any]:
    now = clock.read_now(engine_database())
    found = verification.verify_operated(
        since=now - length if length is not None else now - timedelta(days=36_500),
        until=now,
        limit=MAX_VERIFIED,
        signed_since=verification.read_signed_since(),
    )
    urls = [find_saga_url(site, finding.saga_id, tab="history") for finding in found.findings]
    return {"report": found, "findings": list(zip(found.findings, urls, strict=True))}
