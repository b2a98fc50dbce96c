"""Table of the dashboard: what needs attention, the most severe first; a flood of one failure is one row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge

from django.utils.http import urlencode

from ...operators.actor import Actor
from ...operators.presentation import Badge, badge_of_saga, current_step, explain
from ...operators.presentation.times import describe_span
from ...operators.queries.failing_groups import FailingGroup
from ...operators.queries.severest import SevereSaga, read_severest
from ...operators.visibility import find_visibility
from ..saga_list.group_rows import build_group_rows
from ..ui.addresses import find_url
from ..ui.menu import NEEDS
from ..ui.page_selection import LIST_FILTERS

SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class AttentionRow:
    """Saga, or the sagas of one failure."""

    severity: int
    badge: Badge
    name: str
    """The saga's first business key or its id; for a failure the number of its sagas."""
    definition: str
    url: str
    step: str
    """Where it is stuck; empty between steps."""
    sentence: str
    """Where the saga stands, or the failure."""
    since: str
    """For how long it has needed attention; for a failure the ages of its newest and its oldest saga."""


def list_attention(groups: Sequence[FailingGroup], now: datetime, site: str, reader: Actor) -> tuple[AttentionRow, ...]:
    """Return the first rows. ``groups``: failures of many sagas, the most severe first."""
    sagas = read_severest(SHOWN, without=[group.key for group in groups])
    with_errors = find_visibility(reader).has_errors
    rows = merge(
        _list_groups(groups, now, site, with_errors=with_errors),
        (_show_saga(one, site, reader, with_errors=with_errors) for one in sagas),
        key=lambda row: row.severity,
    )
    return tuple(rows)[:SHOWN]


def _list_groups(
    groups: Sequence[FailingGroup], now: datetime, site: str, *, with_errors: bool
) -> Iterator[AttentionRow]:
    for row in build_group_rows(groups, now, site, with_errors=with_errors, may_act=False):
        yield AttentionRow(
            severity=row.severity, badge=row.badge, name=f"{row.sagas:,} sagas", definition=row.definition, url=row.url,
            step=row.step, sentence=row.error, since=row.ages,
        )  # fmt: skip


def _show_saga(one: SevereSaga, site: str, reader: Actor, *, with_errors: bool) -> AttentionRow:
    saga, at = one.saga, current_step(one.saga, one.steps)
    return AttentionRow(
        severity=saga.severity,
        badge=badge_of_saga(saga, one.steps, one.now),
        name=one.key or str(saga.pk),
        definition=f"{saga.definition} {saga.version}",
        url=find_url(site, "sagas_saga_change", saga.pk, query={LIST_FILTERS: urlencode(NEEDS)}),
        step=at.name if at is not None else "",
        sentence=explain(saga, one.steps, one.now, reader=reader, with_errors=with_errors).headline,
        since=describe_span(one.now - one.since),
    )
