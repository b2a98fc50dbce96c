"""Reconciliation: sends again what a broker confirmed and then lost, as after a flush or a deleted topic.

What was confirmed long enough ago is compared with the inbox of each consumer that runs here. An event is sent again,
under the same id, only to replace one that cannot be on its way: its consumer received something later of the topic, or
has no lag. A consumer that merely lags makes nothing be sent again.

Source: Kleppmann, Designing Data-Intensive Applications, chapter 12 (end-to-end argument).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import Error, connections
from django.db.models import F, Max, Q

from ..clock import read_now
from ..databases import refresh_connection
from ..models import EventConsumer, InboxEvent, OutboxEvent, OutboxState
from ..transactions import own_transaction
from . import catalogue
from .cloudevents import read_own_id
from .heartbeat import SEEN_WITHIN
from .settings import get_event_settings

logger = logging.getLogger(__name__)

PAGE = 500
MAX_PAGES = 20  # one run: what is left is compared in the next one
LATEST, SCAN = 50, 5_000  # received events of a topic that show how far a consumer is, among so many of all topics

LATEST_RECEIVED = """
    SELECT event_id FROM (
        SELECT event_id, consumer, topic, received_at FROM sagas_inboxevent ORDER BY received_at DESC LIMIT %(scan)s
    ) AS lately WHERE consumer = %(consumer)s AND topic = %(topic)s ORDER BY received_at DESC LIMIT %(limit)s
"""

Place = tuple[datetime, int]


@dataclass(kw_only=True)
class Reconciliation:
    """Comparison of one database's outbox, page after page, run after run."""

    alias: str
    settled: int = 0
    """Events that all their consumers were found to have."""
    resent: int = 0
    """Events that are sent again."""
    _after: Place | None = None
    _away: set[str] = field(default_factory=set)

    def run(self, *, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Compare up to MAX_PAGES pages, oldest first, from where the last run ended.

        Raises: errors of this database; a consumer's database that is away only leaves its events uncompared.
        Tx: must not be inside one; opens short ones.
        """
        self._away.clear()
        for _ in range(MAX_PAGES):
            page = [] if should_stop() else self._read_page()
            self._after = (page[-1].sent_at, page[-1].pk) if page and page[-1].sent_at else None
            if not page:
                return
            self._compare(page)
            if len(page) < PAGE:
                self._after = None
                return

    def _read_page(self) -> list[OutboxEvent]:
        settings = get_event_settings()
        rows = OutboxEvent.objects.using(self.alias).filter(
            state=OutboxState.SENT.value,
            settled_at=None,
            sent_at__lte=read_now(self.alias) - settings.resend_after,
            participant__in=catalogue.list_local_senders(),
        )
        if self._after is not None:
            at, pk = self._after
            rows = rows.filter(Q(sent_at__gt=at) | Q(sent_at=at, pk__gt=pk), sent_at__gte=at)
        return list(rows.order_by("sent_at", "pk")[:PAGE])

    def _compare(self, page: Sequence[OutboxEvent]) -> None:
        unsettled: set[int] = set()
        lost: set[int] = set()
        consumers = {name: catalogue.consumers_of_type(name) for name in {row.type for row in page}}
        for consumer in sorted({label for labels in consumers.values() for label in labels}):
            missing = self._find_missing(consumer, [row for row in page if consumer in consumers[row.type]])
            unsettled |= {row.pk for row, _ in missing}
            lost |= {row.pk for row, is_lost in missing if is_lost}
        now = read_now(self.alias)
        self._settle([row.pk for row in page if row.pk not in unsettled], now)
        for row in page:
            if row.pk in lost and self._may_resend(row, now):
                self._resend(row, now)

    def _find_missing(self, consumer: str, rows: Sequence[OutboxEvent]) -> list[tuple[OutboxEvent, bool]]:
        """Return the events that a consumer does not have, and whether each is lost rather than on its way.

        The inbox is read again after what shows how far the consumer is: an event could have arrived in between.
        """
        alias = catalogue.database_of(consumer)
        if alias in self._away:
            return [(row, False) for row in rows]
        try:
            rows = _without_received(alias, consumer, rows)
            if not rows:
                return []
            idle_for = _find_idle_time(alias, consumer)
            reach = {topic: self._find_reach(alias, consumer, topic) for topic in {row.topic for row in rows}}
            rows = _without_received(alias, consumer, rows)
        except Error as error:
            if alias == self.alias:
                raise
            self._away.add(alias)
            refresh_connection(alias, is_broken=True)
            logger.warning("Events not compared: a database is away.", extra={"database": alias, "error": str(error)})
            return [(row, False) for row in rows]
        now = read_now(self.alias)
        return [(row, _is_past(row, now, idle_for, reach[row.topic])) for row in rows]

    def _find_reach(self, alias: str, consumer: str, topic: str) -> datetime | None:
        """Return when the newest event of this database that a consumer received of a topic was written; None: none."""
        with connections[alias].cursor() as cursor:
            cursor.execute(LATEST_RECEIVED, {"consumer": consumer, "topic": topic, "scan": SCAN, "limit": LATEST})
            ids = [found for (text,) in cursor.fetchall() if (found := read_own_id(text)) is not None]
        rows = OutboxEvent.objects.using(self.alias).filter(event_id__in=ids, topic=topic)
        reach: datetime | None = rows.aggregate(reach=Max("recorded_at"))["reach"]
        return reach

    def _settle(self, ids: Sequence[int], now: datetime) -> None:
        if ids:
            rows = OutboxEvent.objects.using(self.alias)
            self.settled += rows.filter(pk__in=ids, state=OutboxState.SENT.value).update(settled_at=now)

    def _may_resend(self, row: OutboxEvent, now: datetime) -> bool:
        """Return whether an event is due again: not too often, with a back-off, and while all inboxes remember it."""
        settings = get_event_settings()
        if row.sent_at is None or row.resends >= settings.resends_max or row.recorded_at < now - settings.retention:
            return False
        wait: timedelta = settings.resend_after * 2**row.resends
        return row.sent_at <= now - wait

    def _resend(self, row: OutboxEvent, now: datetime) -> None:
        rows = OutboxEvent.objects.using(self.alias).filter(
            pk=row.pk, state=OutboxState.SENT.value, sent_at=row.sent_at
        )
        with own_transaction(self.alias):
            count = rows.update(state=OutboxState.UNSENT.value, due_at=now, resends=F("resends") + 1)
        self.resent += count
        if count:
            facts = {"event_id": str(row.event_id), "event_type": row.type, "key": row.key, "resends": row.resends + 1}
            logger.warning("Event lost by the broker; it is sent again.", extra=facts)


def _without_received(alias: str, consumer: str, rows: Sequence[OutboxEvent]) -> list[OutboxEvent]:
    inbox = InboxEvent.objects.using(alias).filter(consumer=consumer, event_id__in=[str(row.event_id) for row in rows])
    found = set(inbox.values_list("source", "event_id"))
    return [row for row in rows if (row.source, str(row.event_id)) not in found]


def _find_idle_time(alias: str, consumer: str) -> timedelta | None:
    """Return how long ago a consumer had no lag, by every process seen lately; None: it lags, or it is unknown."""
    now = read_now(alias)
    seen = EventConsumer.objects.using(alias).filter(consumer=consumer, seen_at__gte=now - SEEN_WITHIN)
    found = list(seen.values_list("lag", "lag_at"))
    ages = [now - at for lag, at in found if lag == 0 and at is not None]
    return max(ages) if found and len(ages) == len(found) else None


def _is_past(row: OutboxEvent, now: datetime, idle_for: timedelta | None, reach: datetime | None) -> bool:
    """Return whether a consumer was past an event's place after the broker had confirmed it.

    Ages are compared, because the consumer's database has another clock.
    """
    if row.sent_at is None:
        return False
    return (idle_for is not None and idle_for < now - row.sent_at) or (reach is not None and reach > row.sent_at)
