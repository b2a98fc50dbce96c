"""Page of failure groups: recent failures grouped by error, with links to the sagas of each group."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from ...operators.actor import Actor
from ...operators.audit import access_log
from ...operators.presentation.badges import in_words
from ...operators.presentation.drawing.charts import Chart, draw_trend
from ...operators.queries.failures import MAX_FAILURES, MAX_GROUPS, MAX_OPEN, FailureGroup, Failures, read_failures
from ...operators.time_windows import TIME_WINDOWS
from ...operators.visibility import find_visibility
from ..bulks.bulk_choosing import link_to_bulks
from ..ui.addresses import find_url
from ..ui.base_filter import QueryRefused
from ..ui.console_admin import ConsoleAdmin
from ..ui.formatting import Moment, show_moment
from ..ui.saved_views import list_url
from ..ui.spans import find_window

TEMPLATE = "admin/sagas/failures.html"
DEFAULT_SPAN = "24h"
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """Row of one failure group."""

    key: str
    """Value of the list's filter."""
    definition: str
    step: str
    direction: str
    error_class: str
    """Class name without its module."""
    error_path: str
    """Class name with its module."""
    pattern: str
    """Common pattern of the messages; empty without the permission to see them."""
    example: str
    """Newest message, if it differs from the pattern; empty without the permission."""
    outcome: str
    failures: int
    sagas: int
    open_sagas: int
    first: Moment
    last: Moment
    trend: Chart
    all_url: str
    """List of the group's sagas."""
    open_url: str
    """List of its open sagas, including those that no longer fail this way."""
    act_url: str
    """Page of a bulk over the open sagas that still fail this way; empty without the permission."""


def failures_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show the failure groups of a time window.

    Raises: PermissionDenied.
    """
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    try:
        span = find_window(request, DEFAULT_SPAN)
    except QueryRefused as error:
        return model_admin.refuse_query(request, str(error))
    found = read_failures(span.length)
    actor = Actor.of_user(request.user)
    visibility = find_visibility(actor)
    if found.groups:
        visibility = access_log.log_visible(visibility, actor.name, access_log.What.PAGE, detail="failure groups")
    with_errors = visibility.has_errors
    site = model_admin.admin_site.name
    may_act = bool(link_to_bulks(request).get("bulk_url"))
    context = {
        "title": "Failure groups",
        "span": span,
        "spans": list(TIME_WINDOWS.values()),
        "groups": list(_list_rows(found, site, with_errors=with_errors, may_act=may_act)),
        "found": found,
        "may_see_errors": with_errors,
        "limits": {"failures": MAX_FAILURES, "groups": MAX_GROUPS, "open": MAX_OPEN},
    }
    return model_admin.render(request, TEMPLATE, context)


def _list_rows(found: Failures, site: str, *, with_errors: bool, may_act: bool) -> Iterator[GroupRow]:
    labels = list_labels(found.since, found.bucket, len(found.groups[0].trend) if found.groups else 0)
    for group in found.groups:
        yield _build_row(group, found, labels, site, with_errors=with_errors, may_act=may_act)


def _build_row(
    group: FailureGroup, found: Failures, labels: list[str], site: str, *, with_errors: bool, may_act: bool
) -> GroupRow:
    failing = find_url(site, "sagas_sagabulk_new", query={"failing": group.key})
    return GroupRow(
        key=group.key,
        definition=group.definition,
        step=group.step,
        direction=group.direction,
        error_class=group.error_class.rpartition(".")[2],
        error_path=group.error_class,
        pattern=group.pattern if with_errors else "",
        example=group.message if with_errors and group.message != group.pattern else "",
        outcome=in_words(group.outcome),
        failures=group.failures,
        sagas=group.sagas,
        open_sagas=group.open_sagas,
        first=show_moment(group.first_at, found.until),
        last=show_moment(group.last_at, found.until),
        trend=draw_trend(group.trend, labels, summary=describe_trend(group.trend)),
        all_url=list_url(site, group=group.key),
        open_url=list_url(site, group=group.key, closed="no"),
        act_url=failing if may_act and group.open_sagas else "",
    )


def list_labels(since: datetime, bucket: timedelta, count: int) -> list[str]:
    """Return the labels of a window's parts: their beginning, in UTC."""
    pattern, first = "%Y-%m-%d %H:%M" if bucket * count > DAY / 2 else "%H:%M:%S", since.astimezone(UTC)
    return [f"{first + place * bucket:{pattern}} UTC" for place in range(count)]


def describe_trend(values: tuple[int, ...]) -> str:
    """Return count and direction of a trend in words, from its last third and the third before."""
    third = max(len(values) // 3, 1)
    last, before = sum(values[-third:]), sum(values[-2 * third : -third])
    if last == before:
        direction = "steady"
    elif not last:
        direction = "stopped"
    elif not before:
        direction = "new"
    else:
        direction = "rising" if last > before else "falling"
    count = sum(values)
    return f"{count} failure{'' if count == 1 else 's'}, {direction}"
