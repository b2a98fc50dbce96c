"""Rows of the list that stand for many sagas with one failure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest

from ...core.severity import Severity
from ...models import Saga
from ...operators.presentation.badges import Badge, Tone
from ...operators.presentation.times import describe_span
from ...operators.queries.failing_groups import FailingGroup, read_failing_groups
from ...operators.visibility import show_error
from ..ui.addresses import find_url
from ..ui.frame import has_own_frame
from ..ui.list_order import SEVEREST, OrderFilter
from ..ui.saved_views import list_url
from .rows import cut_error

URGENT = Badge(word="one failure", icon="warning", tone=Tone.URGENT)
WAITING = Badge(word="one failure", icon="repeat", tone=Tone.WAITING)
# With any other parameter the list shows what was asked for, saga by saga.
FOLDED_WITH = frozenset({"needs", "p", "e", "before"})


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """Row of one failure group."""

    sagas: int
    severity: int
    definition: str
    step: str
    error: str
    """The newest error in one line."""
    ages: str
    """Ages of its newest and its oldest saga."""
    badge: Badge
    url: str
    """List of its sagas."""
    act_url: str
    """Page of a bulk over them; empty without the permission."""


def folds_groups(request: HttpRequest) -> bool:
    """Return whether the list shows one row for the sagas of a group."""
    given = {name for name in request.GET if name != OrderFilter.parameter_name}
    return (
        has_own_frame() and given <= FOLDED_WITH and request.GET.get(OrderFilter.parameter_name, SEVEREST) == SEVEREST
    )


def list_groups(request: HttpRequest) -> list[FailingGroup]:
    """Return the groups that the list shows in one row each."""
    if not folds_groups(request):
        return []
    least = Severity.OPEN if "needs" in request.GET else Severity.CLOSED
    return [group for group in read_failing_groups() if group.severity < least]


def build_group_rows(
    groups: Sequence[FailingGroup], now: datetime, site: str, *, with_errors: bool, may_act: bool
) -> list[GroupRow]:
    """Return the rows of groups."""
    return [
        GroupRow(
            sagas=group.sagas,
            severity=group.severity,
            badge=WAITING if group.severity >= Severity.OPEN else URGENT,
            definition=group.definition,
            step=group.step,
            error=cut_error(show_error(f"{group.error_class}: {group.message}", with_errors=with_errors)),
            ages=_show_ages(group, now),
            url=list_url(site, failing=group.key),
            act_url=find_url(site, "sagas_sagabulk_new", query={"failing": group.key}) if may_act else "",
        )
        for group in groups
    ]


def place_groups(groups: Sequence[GroupRow], sagas: Sequence[Saga], cells: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the rows of a page: a group, or the cells of a saga; each group stands before what is less severe."""
    left = list(groups)
    for saga, row in zip(sagas, cells, strict=True):
        while left and left[0].severity < saga.severity:
            yield left.pop(0), None
        yield None, row
    yield from ((group, None) for group in left)


def _show_ages(group: FailingGroup, now: datetime) -> str:
    newest, oldest = describe_span(now - group.newest_at), describe_span(now - group.oldest_at)
    return oldest if newest == oldest else f"{newest} to {oldest}"
