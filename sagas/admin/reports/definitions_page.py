"""Pages of the definitions in use: all of them with their statistics, and one version with its steps."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.safestring import SafeString

from ...core.definition.saga import STORED_NAME
from ...core.states import Direction
from ...operators.presentation.badges import Badge, Tone
from ...operators.presentation.definition_outline import (
    Difference,
    Outline,
    Retries,
    list_differences,
    outline_definition,
    outline_stored,
)
from ...operators.presentation.drawing.graph import describe_nodes, draw_graph
from ...operators.queries.definition_statistics import MAX_ATTEMPTS
from ...operators.queries.definitions import Tries, VersionInUse, VersionsInUse, read_stored_steps, read_versions
from ...operators.queries.statistics import DAY, MAX_DURATIONS, WEEK
from ...operators.time_windows import TIME_WINDOWS, TimeWindow
from ..dashboard.dashboard import describe_counting
from ..dashboard.tiles import show_count
from ..dashboard.windows import show_seconds, show_share
from ..ui.addresses import find_url
from ..ui.base_filter import QueryRefused, read_choice
from ..ui.console_admin import ConsoleAdmin
from ..ui.saved_views import list_url
from ..ui.spans import PARAMETER

LIST_TEMPLATE, PAGE_TEMPLATE = "admin/sagas/definitions.html", "admin/sagas/definition.html"
WINDOWS = {"24h": DAY, "7d": WEEK}
DEFAULT_SPAN = "24h"
COMPARED = "with"
IN_CODE = Badge(word="in the code", icon="check", tone=Tone.GOOD)
CHANGED = Badge(word="changed in the code", icon="warning", tone=Tone.URGENT)
MISSING = Badge(word="not in the code", icon="warning", tone=Tone.URGENT)
OVER = Badge(word="not in the code", icon="dash", tone=Tone.QUIET)


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """Row of one definition and version."""

    name: str
    version: int
    url: str
    """Its page; empty for a name that no code can have."""
    badge: Badge
    open: str
    open_url: str
    """List of its open sagas."""
    closed: str
    completed: str
    compensated: str
    median: str
    p95: str
    worst: str
    """The step that fails most often, and how often; empty: none failed."""


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """How one direction of a step went."""

    step: str
    direction: str
    attempts: str
    failed: str
    refused: str


@dataclass(frozen=True, kw_only=True)
class RetryRow:
    """Retry settings of one direction of a step."""

    step: str
    retries: Retries


def definitions_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show all definitions and versions in use.

    Raises: PermissionDenied.
    """
    if refusal := _check(model_admin, request):
        return refusal
    try:
        span = _read_span(request)
    except QueryRefused as error:
        return model_admin.refuse_query(request, str(error))
    found, site = read_versions(WINDOWS[span.code]), model_admin.admin_site.name
    context = {
        "title": "Definitions",
        "rows": [_build_row(version, found, site) for version in found.versions.values()],
        **_describe_statistics(found, span),
    }
    return model_admin.render(request, LIST_TEMPLATE, context)


def definition_view(model_admin: ConsoleAdmin, request: HttpRequest, name: str, version: int) -> HttpResponse:
    """Show one version: its graph, how its steps went and are retried, and what another version has differently.

    Raises: PermissionDenied.
    """
    if refusal := _check(model_admin, request):
        return refusal
    try:
        span = _read_span(request)
        found = read_versions(WINDOWS[span.code])
        others = [str(number) for known, number in found.versions if known == name and number != version]
        compared = read_choice(request, COMPARED, others)
    except QueryRefused as error:
        return model_admin.refuse_query(request, str(error))
    if (name, version) not in found.versions or not STORED_NAME.fullmatch(name):
        text = f"There is no definition {name[:60]!r} in version {str(version)[:20]}, in the code or in a stored saga."
        return model_admin.refuse_query(request, text, status=404)
    shown, site = found.versions[name, version], model_admin.admin_site.name
    outline = read_outline(shown)
    # By default with the version before it.
    other = compared or max((number for number in others if int(number) < version), key=int, default="")
    context = {
        "title": f"{name}, version {version}",
        "row": _build_row(shown, found, site),
        "is_in_code": shown.code is not None,
        "warning": describe_digests(shown),
        "picture": _draw(shown, outline),
        "nodes": [step.node for step in outline.steps],
        "steps": list(_list_steps(shown, outline)),
        "retries": [RetryRow(step=step.name, retries=one) for step in outline.steps for one in step.retries],
        "others": others,
        "other": other,
        "differences": _compare(found.versions[name, int(other)], outline) if other else [],
        "definitions_url": find_url(site, "sagas_saga_definitions"),
        **_describe_statistics(found, span),
    }
    return model_admin.render(request, PAGE_TEMPLATE, context)


def read_outline(version: VersionInUse) -> Outline:
    """Return the outline of a version: of the code or, if the code does not have it, of its newest saga."""
    if version.code is not None:
        return outline_definition(version.code)
    return outline_stored(read_stored_steps(version.name, version.version))


def describe_digests(version: VersionInUse) -> str:
    """Return what is wrong with the code of a version, and what to do; empty: nothing."""
    count = version.open_elsewhere
    if not count:
        return ""
    sagas = "1 open saga runs" if count == 1 else f"{count:,} open sagas run"
    if version.code is None:
        return (
            f"{sagas} on this version, which the code does not have. Deploy it again and keep it until they are closed."
        )
    return (
        f"{sagas} on a digest that the code no longer has: steps, participants or input changed under this version."
        " Restore it, and make the change a new version."
    )


def _check(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse | None:
    """Return the answer to a wrong method, or None.

    Raises: PermissionDenied.
    """
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    return None if request.method in ("GET", "HEAD") else HttpResponseNotAllowed(["GET", "HEAD"])


def _read_span(request: HttpRequest) -> TimeWindow:
    return TIME_WINDOWS[read_choice(request, PARAMETER, WINDOWS) or DEFAULT_SPAN]


def _describe_statistics(found: VersionsInUse, span: TimeWindow) -> dict[str, object]:
    return {
        "span": span,
        "spans": [TIME_WINDOWS[code] for code in WINDOWS],
        "counted_open": describe_counting(found.stored, found.now),
        "counted": describe_counting(found.lately, found.now),
        "is_closed_capped": found.lately.data.get("closed_is_capped", False),
        "are_attempts_capped": found.lately.data.get("attempts_are_capped", False),
        "limits": {"closed": f"{MAX_DURATIONS:,}", "attempts": f"{MAX_ATTEMPTS:,}"},
    }


def _build_row(version: VersionInUse, found: VersionsInUse, site: str) -> VersionRow:
    counted, code = found.lately.data, f"{version.name}:{version.version}"
    is_known = STORED_NAME.fullmatch(version.name)
    return VersionRow(
        name=version.name,
        version=version.version,
        url=find_url(site, "sagas_saga_definition", version.name, version.version) if is_known else "",
        badge=_judge(version),
        open=show_count(version.open, found.stored.data),
        open_url=list_url(site, definition=code, closed="no") if is_known else "",
        closed=show_count(version.closed, counted),
        completed=show_share(version.completed, version.closed),
        compensated=show_share(version.compensated, version.closed),
        median=show_seconds(version.seconds[0]) if version.seconds else "-",
        p95=show_seconds(version.seconds[1]) if version.seconds else "-",
        worst=_describe_worst(version),
    )


def _judge(version: VersionInUse) -> Badge:
    if version.code is None:
        return MISSING if version.open else OVER
    return CHANGED if version.open_elsewhere else IN_CODE


def _describe_worst(version: VersionInUse) -> str:
    rates = {key: tries.failures / tries.attempts for key, tries in version.tries.items() if tries.failures}
    if not rates:
        return ""
    step, direction = key = max(rates, key=lambda key: (rates[key], key))
    name = step if direction == Direction.ACTION else f"{step}, {direction}"
    return f"{name}: {show_share(version.tries[key].failures, version.tries[key].attempts)}"


def _list_steps(version: VersionInUse, outline: Outline) -> Iterator[StepRow]:
    """Yield the directions of each step that had attempts, and the actions of the others."""
    names = [step.name for step in outline.steps]
    names += sorted({step for step, _ in version.tries} - {*names})
    for name in names:
        for direction in Direction:
            tries = version.tries.get((name, direction.value))
            if tries is None and direction is Direction.COMPENSATION:
                continue
            tries = tries or Tries()
            yield StepRow(
                step=name,
                direction=direction.value,
                attempts=f"{tries.attempts:,}",
                failed=show_share(tries.failures, tries.attempts),
                refused=show_share(tries.refusals, tries.attempts),
            )


def _draw(version: VersionInUse, outline: Outline) -> SafeString:
    nodes = [step.node for step in outline.steps]
    title = f"Graph of {version.name}, version {version.version}"
    picture = draw_graph(
        nodes, name="saga-graph", title=title, description=describe_nodes(nodes), stands_alone=False
    )  # fmt: skip
    return SafeString(picture)


def _compare(other: VersionInUse, outline: Outline) -> list[Difference]:
    return list(list_differences(read_outline(other), outline))
