"""Troubles: what of a participant's events needs an operator, alerted once by whichever process finds it first.

A trouble is a row from its first alert until it is over. It is alerted again when further events become part of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections

from ..alerts import EventAlert
from ..models import EventTrouble, InboxState
from ..transactions import own_transaction
from .heartbeat import SEEN_WITHIN
from .overview import ConsumerOverview, Overview, SenderOverview
from .settings import get_event_settings

OUTBOX_LATE = timedelta(seconds=60)  # far more than a few searches of a relay
CONSUMER_UNSEEN = "consumer_unseen"
# Returns a row unless the trouble was alerted before with the same events.
RAISE = """
    INSERT INTO sagas_eventtrouble (participant, reason, mark, raised_at) VALUES (%s, %s, %s, %s)
    ON CONFLICT (participant, reason) DO UPDATE SET mark = EXCLUDED.mark, raised_at = EXCLUDED.raised_at
    WHERE sagas_eventtrouble.mark < EXCLUDED.mark RETURNING id
"""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One kind of trouble of one participant."""

    participant: str
    reason: str
    what: str
    """One sentence with numbers and ages, and no data of events."""
    todo: str
    mark: int = 0
    """Newest row that is part of it; 0 for troubles without rows."""


def find_troubles(overview: Overview) -> list[Trouble]:
    """Return the troubles of one database's participants that run here."""
    found = [trouble for sender in overview.senders for trouble in _judge_sender(sender)]
    for consumer in overview.consumers:
        found += [*_judge_inbox(consumer), *_judge_processes(consumer, overview.now)]
    return found


def raise_troubles(overview: Overview, *, running_for: timedelta | None = None) -> list[EventAlert]:
    """Record the present troubles of a database, and forget those that are over.

    Those of participants that run elsewhere are left to the processes there. ``running_for``: how long this process has
    run, if consumers that start beside it get time to be seen.
    Returns: the alerts that no process has sent yet.
    Tx: must not be inside one; opens its own.
    """
    found, now, alias = find_troubles(overview), overview.now, overview.alias
    present = {(trouble.participant, trouble.reason) for trouble in found}
    judged = {*(one.participant for one in overview.senders), *(one.consumer for one in overview.consumers)}
    is_starting = running_for is not None and running_for <= 2 * SEEN_WITHIN
    alerts = []
    with own_transaction(alias), connections[alias].cursor() as cursor:
        for row in EventTrouble.objects.using(alias).filter(participant__in=judged):
            if (row.participant, row.reason) not in present:
                row.delete(using=alias)
        for trouble in found:
            if trouble.reason == CONSUMER_UNSEEN and is_starting:
                continue
            cursor.execute(RAISE, [trouble.participant, trouble.reason, trouble.mark, now])
            if cursor.fetchone() is not None:
                what = f"{trouble.what} {trouble.todo}"
                alerts.append(EventAlert(participant=trouble.participant, reason=trouble.reason, what=what, at=now))
    return alerts


def _judge_sender(sender: SenderOverview) -> Iterator[Trouble]:
    name = sender.participant
    if sender.unsent.oldest_age > OUTBOX_LATE:
        age = sender.unsent.oldest_age.total_seconds()
        yield Trouble(
            participant=name,
            reason="outbox_late",
            what=f"{sender.unsent.count} events are unsent, the oldest for {age:.0f} s.",
            todo="Check the broker, and that a worker or outbox_relay --loop runs.",
        )
    if sender.parked.count:
        yield Trouble(
            participant=name,
            reason="outbox_parked",
            what=f"{sender.parked.count} events are parked, because the broker refused them; their sources wait.",
            todo="See why with event_list --status parked, mend it, then event_replay each.",
            mark=sender.parked.newest_id,
        )
    if sender.missing.count:
        yield Trouble(
            participant=name,
            reason="events_missing",
            what=f"{sender.missing.count} events did not reach a consumer, although they were sent again"
            f" {get_event_settings().resends_max} times.",
            todo="Check the topics with event_topics --check, then event_replay each.",
            mark=sender.missing.newest_id,
        )


def _judge_inbox(consumer: ConsumerOverview) -> Iterator[Trouble]:
    name = consumer.consumer
    dead, parked = consumer.groups[InboxState.DEAD], consumer.groups[InboxState.PARKED]
    if dead.count:
        yield Trouble(
            participant=name,
            reason="dead_letters",
            what=f"{dead.count} events are dead, because their handler failed too often.",
            todo="Mend the cause, then event_retry or event_discard each.",
            mark=dead.newest_id,
        )
    if parked.count:
        yield Trouble(
            participant=name,
            reason="inbox_parked",
            what=f"{parked.count} events were never run: unreadable, unknown, or without authority.",
            todo="event_list --status parked shows why.",
            mark=parked.newest_id,
        )
    limit, waiting = get_event_settings().not_yet_limit, consumer.groups[InboxState.NOT_YET]
    if waiting.oldest_age > limit:
        yield Trouble(
            participant=name,
            reason="not_yet_late",
            what=f"{waiting.count} events wait for what they build on, the oldest for"
            f" {waiting.oldest_age.total_seconds():.0f} s.",
            todo="Find what their sender owes with event_list --key.",
        )


def _judge_processes(consumer: ConsumerOverview, now: datetime) -> Iterator[Trouble]:
    if not consumer.processes:
        seen = f"for {(now - consumer.seen_at).total_seconds():.0f} s" if consumer.seen_at else "at all"
        yield Trouble(
            participant=consumer.consumer,
            reason=CONSUMER_UNSEEN,
            what=f"No consumer was seen {seen}.",
            todo=f"Start event_consume --participant {consumer.consumer}.",
        )
