"""Read what people did, newest first, a page at a time, on indexes that hold people's actions alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Prefetch, Q

from . import clock
from .conf import get_settings
from .models import BulkState, Saga, SagaBulk, SagaHistory, SagaKey
from .models.history import DEED
from .places import is_below
from .rules import Operation

PAGE = 50
MAX_BULKS = 50  # people act on many sagas seldom; the list of bulks shows all
PLACE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")  # microseconds since 1970, id


@dataclass(frozen=True, kw_only=True)
class WantedDeeds:
    """Say which actions to read; what is left out does not narrow."""

    actor: str = ""
    """Whose, by the exact name."""
    operation: Operation | None = None
    """Which action."""
    since: datetime | None = None
    """From when on."""
    before: str = ""
    """The place to go on from, as ``DeedPage.next_place`` gave it."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Tell of one action of a person."""

    entry: SagaHistory
    """The history entry: who, when, to which step, why."""
    operation: str
    """Which action."""
    before: str
    """Where the saga stood."""
    after: str
    """Where it stood then."""
    result: str
    """What it did, in a sentence; empty for entries from before it was kept."""
    evidence: str
    """What the person saw, if that was asked for."""
    revision: int | None
    """The revision that the person had decided on."""
    keys: tuple[str, ...]
    """Values of the saga's business keys."""


@dataclass(frozen=True, kw_only=True)
class DeedPage:
    """Hold a page of actions."""

    deeds: tuple[Deed, ...]
    next_place: str
    """Where the next page begins; empty at the end."""
    now: datetime
    """When it was read."""


@dataclass(frozen=True, kw_only=True)
class BulkDeed:
    """Tell that a person confirmed a bulk, or stopped it."""

    bulk: SagaBulk
    """Of which bulk."""
    at: datetime
    """When."""
    actor: str
    """Who."""
    is_stop: bool
    """Whether it was stopped then."""
    reason: str
    """Why; empty where somebody stopped it without a word."""


def read_deeds(wanted: WantedDeeds) -> DeedPage:
    """Return a page of what people did, newest first; a place that is none begins at the newest."""
    using = get_settings().database
    keys = SagaKey.objects.using(using).order_by("name")
    sagas = Saga.objects.using(using).only("definition").prefetch_related(Prefetch("keys", keys))
    rows = _select(wanted).order_by("-at", "-pk").prefetch_related(Prefetch("saga", sagas))
    entries = list(rows[: PAGE + 1])
    shown = entries[:PAGE]
    return DeedPage(
        deeds=tuple(_tell(entry) for entry in shown),
        next_place=_describe_place(shown[-1]) if len(entries) > PAGE else "",
        now=clock.read_now(using),
    )


def read_bulk_deeds(wanted: WantedDeeds) -> list[BulkDeed]:
    """Return who confirmed and who stopped a bulk, newest first: of the MAX_BULKS drawn last that fit.

    ``wanted.before`` says nothing here.
    """
    rows = SagaBulk.objects.using(get_settings().database).filter(started_at__isnull=False)
    if wanted.actor:
        rows = rows.filter(Q(actor=wanted.actor) | Q(stopped_by=wanted.actor))
    if wanted.operation is not None:
        rows = rows.filter(operation=wanted.operation.value)
    if wanted.since is not None:
        rows = rows.filter(Q(started_at__gte=wanted.since) | Q(ended_at__gte=wanted.since))
    deeds = [deed for bulk in rows.order_by("-drawn_at", "-pk")[:MAX_BULKS] for deed in _tell_bulk(bulk)]
    fitting = [
        deed
        for deed in deeds
        if (not wanted.actor or deed.actor == wanted.actor) and (wanted.since is None or deed.at >= wanted.since)
    ]
    return sorted(fitting, key=lambda deed: deed.at, reverse=True)


def _tell_bulk(bulk: SagaBulk) -> Iterator[BulkDeed]:
    if bulk.started_at is not None:
        yield BulkDeed(bulk=bulk, at=bulk.started_at, actor=bulk.actor, is_stop=False, reason=bulk.reason)
    if bulk.state == BulkState.STOPPED and bulk.ended_at is not None:
        yield BulkDeed(bulk=bulk, at=bulk.ended_at, actor=bulk.stopped_by, is_stop=True, reason=bulk.stop_reason)


def _select(wanted: WantedDeeds) -> Any:
    rows = SagaHistory.objects.using(get_settings().database).filter(what=DEED)
    if wanted.actor:
        rows = rows.filter(actor=wanted.actor)
    if wanted.operation is not None:
        rows = rows.filter(to_state=wanted.operation.value)
    if wanted.since is not None:
        rows = rows.filter(at__gte=wanted.since)
    if place := _parse_place(wanted.before):
        rows = rows.filter(is_below("at", *place))
    return rows


def _tell(entry: SagaHistory) -> Deed:
    data = entry.data if isinstance(entry.data, dict) else {}
    revision = data.get("revision")
    return Deed(
        entry=entry,
        operation=entry.to_state,
        before=str(data.get("before", "")),
        after=str(data.get("after", "")),
        result=str(data.get("result", "")),
        evidence=str(data.get("evidence", "")),
        revision=revision if isinstance(revision, int) else None,
        keys=_list_keys(entry.saga.keys.all()),
    )


def _list_keys(keys: Sequence[SagaKey] | Any) -> tuple[str, ...]:
    return tuple(key.value for key in keys)


def _describe_place(entry: SagaHistory) -> str:
    since = entry.at - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return f"{microseconds}-{entry.pk}"


def _parse_place(text: str) -> tuple[datetime, int] | None:
    found = PLACE.fullmatch(text)
    if not found:
        return None
    try:
        seconds, microseconds = divmod(int(found[1]), 1_000_000)
        return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=microseconds), int(found[2])
    except (OverflowError, OSError, ValueError):
        return None
