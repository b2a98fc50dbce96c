"""URLs of the console: the list by filter, order, search and depth, sagas in each view, and other pages."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from sagas.admin.saga_list.filters import PARAMETERS
from sagas.admin.ui.list_order import LONGEST, SEVEREST, SLOWEST, describe_position
from sagas.admin.ui.page_selection import LIST_FILTERS, ORCHESTRATION_TABS, Only
from sagas.core.definition import registry
from sagas.models import Saga, SagaAttempt
from sagas.operators.preconditions import Operation
from sagas.operators.presentation import REASONS, DisplayState
from sagas.operators.time_windows import TIME_WINDOWS

DASHBOARD, LIST = "/admin/sagas/", "/admin/sagas/saga/"
DEFINITION, KEY_PREFIX, CUSTOMER = "checkout", "GEN-00001", "CUST-00042"
# Prefixes of very many keys: of all sagas, in either case, with and without a name, and of the oldest only.
OLDEST = "GEN-0000"
COMMON = ("GEN-", "gen-0", "CUST-", "reference:GEN-0", "customer:GEN-0", OLDEST)
NUMBERS = ("2", "4", "10")
DEPTHS = ("2", "10", "20")


def list_pages(examples: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return the URLs by name.

    examples: ids of sagas by kind. key: the business key of the completed one.
    """
    queries = {urlencode(query): f"{LIST}?{urlencode(query)}" for query in list_queries(examples, key)}
    return {
        "dashboard": DASHBOARD,
        "dashboard, 7d": f"{DASHBOARD}?span=7d",
        "list": LIST,
        **{f"list {query}": address for query, address in queries.items()},
        "list, refreshed": f"{LIST}refresh/",
        **dict(list_saga_pages(examples)),
        **{f"failures, {span}": f"{LIST}failures/?span={span}" for span in TIME_WINDOWS},
        **dict(list_definition_pages()),
        **{f"log {query}": f"{LIST}log/?{query}" for query in list_log_queries()},
    }


def list_queries(examples: Mapping[str, Any], key: str) -> Iterator[dict[str, str]]:
    """Yield the list's filters one by one, then several combined.

    Raises: AssertionError if the list has another filter.
    """
    filters = list_filter_values()
    assert set(filters) == PARAMETERS
    for name, values in filters.items():
        yield from ({name: value} for value in values)
    saga_id = str(examples["completed"])
    searches = (key, key[:-2], f"reference:{key}", CUSTOMER, saga_id, saga_id[:8], "zzz")
    yield from ({"q": text} for text in (*searches, *COMMON))
    yield from ({"q": OLDEST, name: value} for name, value in (("display", "completed"), ("by", SLOWEST)))
    yield from ({"p": number} for number in DEPTHS)
    yield {"p": "20", "display": "completed"}
    yield {"p": "3", "q": KEY_PREFIX}
    yield {"display": "held", "definition": DEFINITION}
    yield {"needs": "any", "started": "30d"}
    yield {"before": filters["before"][0], "display": "completed"}


def list_filter_values() -> dict[str, list[str]]:
    """Return the values to try for each filter, by its name in the URL."""
    names = [definition.name for definition in registry.all_definitions()]
    steps = sorted({step.name for definition in registry.all_definitions() for step in definition.steps})
    group = SagaAttempt.objects.exclude(error_group="").values_list("error_group", flat=True)[0]
    middle = find_middle()
    return {
        "display": [state.value for state in DisplayState],
        "needs": ["any", *REASONS],
        "definition": [*names, f"{names[0]}:1", "nothing"],
        "started": list(TIME_WINDOWS),
        "closed": ["no", "today", *TIME_WINDOWS],
        "step": [*steps[:3], "nothing"],
        "attempts": list(NUMBERS),
        "operated": ["yes", "no"],
        "group": [group, "0" * 16],
        "failing": [group, "0" * 16],
        "since": [f"{middle.created_at:%Y-%m-%d}"],
        "until": [f"{middle.created_at:%Y-%m-%d}"],
        "by": [SEVEREST, SLOWEST, LONGEST],
        "before": [describe_position(middle)],
    }


def find_middle() -> Saga:
    """Return a saga from the middle of the time range."""
    newest, oldest = Saga.objects.latest("created_at"), Saga.objects.earliest("created_at")
    at = oldest.created_at + (newest.created_at - oldest.created_at) / 2
    return Saga.objects.filter(created_at__gte=at - timedelta(days=1)).earliest("created_at")


def list_saga_pages(examples: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every view of every example, and an operation."""
    for name, saga_id in examples.items():
        yield from ((f"{name}, {tab.value}", f"{LIST}{saga_id}/change/?tab={tab.value}") for tab in ORCHESTRATION_TABS)
    page = f"{LIST}{examples['completed']}/change/?"
    for only in (Only.FAILURES, Only.OPERATORS):
        yield f"history, {only.value}", f"{page}tab=history&only={only.value}"
    yield "older history", f"{page}tab=history&history_before=5"
    yield "older attempts", f"{page}tab=timeline&attempts_before=1000"
    for filters in ("needs=any", f"needs=any&by={SEVEREST}", f"by={SEVEREST}", f"by={LONGEST}", "step=nothing"):
        yield f"a saga from {filters}", f"{LIST}{examples['held']}/change/?{urlencode({LIST_FILTERS: filters})}"
    yield "a saga from the slowest", f"{page}{urlencode({LIST_FILTERS: f'by={SLOWEST}'})}"
    yield "a saga, refreshed", f"{LIST}{examples['completed']}/refresh/"
    yield "an action", f"{LIST}{examples['held']}/act/retry/"


def list_definition_pages() -> Iterator[tuple[str, str]]:
    """Yield the pages of all definitions, and of the one used last."""
    saga = Saga.objects.latest("created_at")
    for span in ("24h", "7d"):
        yield f"definitions, {span}", f"{LIST}definitions/?span={span}"
        yield f"a definition, {span}", f"{LIST}definitions/{saga.definition}/{saga.version}/?span={span}"


def list_log_queries() -> Iterator[str]:
    """Yield the filters of the operator log."""
    yield from (f"span={span}" for span in (*TIME_WINDOWS, "any"))
    yield f"span=any&action={Operation.ABANDON.value}"
    yield "span=any&actor=ada"
