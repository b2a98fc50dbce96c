"""Relay: sends what the outbox holds, and marks it only after the broker's own confirmation.

Rows are claimed under a lease and sent without a lock. The events of one source are sent in order: only the first
unsent one of a source is claimed, and those directly behind it with it. What is not confirmed is unknown and is sent
again under the same id. Any number of relays may run.

Source: Richardson, Microservices Patterns, "Polling publisher"; Gray and Reuter, 10.2 (leases).
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from threading import local
from typing import Any

from django.db import connections
from django.db.models import F, Q

from ..clock import read_now
from ..conf import get_settings
from ..core.retry import RetryPolicy
from ..models import OutboxEvent, OutboxState
from ..transactions import own_transaction
from . import catalogue, transports
from .cloudevents import to_message
from .errors import BrokerAway, SendRefused
from .settings import get_event_settings
from .transports.base import Outgoing, Transport

logger = logging.getLogger(__name__)

RETRY = RetryPolicy(attempts=10, base=1.0, cap=60.0)  # delays only; the budget is SEND_ATTEMPTS
LEASE_MARGIN_SECONDS = 20.0
MAX_ERROR_CHARS = 2_000

# The first open event of each source, if it is due and no relay holds it.
CLAIM_HEADS = """
UPDATE sagas_outboxevent SET lease_token = %(token)s, leased_until = %(until)s
WHERE id IN (
    SELECT head.id FROM sagas_outboxevent AS head
    WHERE head.state = 'unsent' AND head.due_at <= %(now)s
      AND (head.leased_until IS NULL OR head.leased_until < %(now)s)
      AND head.participant = ANY(%(participants)s)
      AND (head.sequence IS NULL OR NOT EXISTS (
          SELECT 1 FROM sagas_outboxevent AS earlier
          WHERE earlier.source = head.source AND earlier.sequence < head.sequence
            AND earlier.state IN ('unsent', 'parked')))
    ORDER BY head.due_at, head.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
"""
# Those behind them up to the first that is parked or not due: whoever holds the head holds its source.
CLAIM_FOLLOWERS = """
UPDATE sagas_outboxevent SET lease_token = %(token)s, leased_until = %(until)s
WHERE id IN (
    SELECT follower.id FROM sagas_outboxevent AS follower
    JOIN sagas_outboxevent AS head ON head.source = follower.source AND head.lease_token = %(token)s
    WHERE follower.state = 'unsent' AND follower.sequence > head.sequence AND follower.due_at <= %(now)s
      AND head.state = 'unsent' AND head.sequence IS NOT NULL
      AND NOT EXISTS (
          SELECT 1 FROM sagas_outboxevent AS between
          WHERE between.source = follower.source AND between.sequence < follower.sequence
            AND between.sequence > head.sequence
            AND (between.state = 'parked' OR between.state = 'unsent' AND between.due_at > %(now)s))
    ORDER BY follower.source, follower.sequence LIMIT %(limit)s FOR UPDATE OF follower
)
"""

_local = local()


def relay_all(alias: str, *, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Send everything that is due in a database.

    Returns: how many events the broker confirmed.
    Raises: BrokerAway; database errors.
    Tx: must not be inside one; opens short ones.
    """
    total = 0
    while not should_stop():
        claimed, sent = relay_batch(alias)
        total += sent
        if not claimed:
            break
    return total


def relay_batch(alias: str) -> tuple[int, int]:
    """Claim and send one batch.

    Returns: how many events were claimed, and how many of them the broker confirmed.
    Raises: BrokerAway once the batch is released; database errors.
    Tx: must not be inside one; opens short ones, none of them while sending.
    """
    token = uuid.uuid4()
    rows = _claim(alias, token)
    if not rows:
        return 0, 0
    sent: list[int] = []
    away: BrokerAway | None = None
    stopped: set[str] = set()
    for wave in _waves(rows):
        wave = [row for row in wave if row.sequence is None or row.source not in stopped]
        if not wave:
            continue
        try:
            answers = find_transport().send([Outgoing(topic=row.topic, message=to_message(row)) for row in wave])
        except BrokerAway as error:
            away = error
            break
        for row, refusal in zip(wave, answers, strict=True):
            if refusal is None:
                sent.append(row.pk)
            else:
                stopped.add(row.source)
                _note_refusal(alias, token, row, refusal)
    _finish(alias, token, sent, away)
    if away is not None:
        raise away
    return len(rows), len(sent)


def find_transport() -> Transport:
    """Return this thread's connection to the broker, made on first use."""
    found: Transport | None = getattr(_local, "transport", None)
    url = get_event_settings().url
    if found is None or _local.url != url:
        close_transport()
        found = _local.transport = transports.make_transport()
        _local.url = url
    return found


def close_transport() -> None:
    """Close this thread's connection to the broker; the next use opens another one."""
    found: Transport | None = getattr(_local, "transport", None)
    _local.transport = None
    if found is not None:
        found.close()


def _claim(alias: str, token: uuid.UUID) -> list[OutboxEvent]:
    settings = get_event_settings()
    participants = catalogue.list_local_senders()
    if not participants:
        return []
    lease = timedelta(seconds=settings.send_timeout.total_seconds() + LEASE_MARGIN_SECONDS)
    with own_transaction(alias, durable=True):
        now = read_now(alias)
        values: dict[str, Any] = {
            "token": token, "now": now, "until": now + lease, "limit": settings.relay_batch,
            "participants": participants,
        }  # fmt: skip
        with connections[alias].cursor() as cursor:
            cursor.execute(CLAIM_HEADS, values)
            count = cursor.rowcount
            if 0 < count < settings.relay_batch:
                cursor.execute(CLAIM_FOLLOWERS, {**values, "limit": settings.relay_batch - count})
        rows = OutboxEvent.objects.using(alias).filter(lease_token=token).order_by("id")
        return list(rows) if count else []


def _waves(rows: Sequence[OutboxEvent]) -> Iterator[list[OutboxEvent]]:
    """Return groups to send together: the first event of each source, then the second of each, and so on."""
    by_source: dict[str, list[OutboxEvent]] = {}
    unordered: list[OutboxEvent] = []
    for row in sorted(rows, key=lambda row: (row.source, row.sequence or 0)):
        (unordered if row.sequence is None else by_source.setdefault(row.source, [])).append(row)
    depth = max(map(len, by_source.values()), default=0)
    for place in range(max(depth, 1)):
        wave = [found[place] for found in by_source.values() if place < len(found)]
        yield wave + (unordered if place == 0 else [])


def _finish(alias: str, token: uuid.UUID, sent: list[int], away: BrokerAway | None) -> None:
    """Mark what was confirmed, and release the rest; an unreachable broker delays it without spending a budget."""
    leased = OutboxEvent.objects.using(alias).filter(lease_token=token)
    with own_transaction(alias, durable=True):
        now = read_now(alias)
        leased.filter(pk__in=sent, state=OutboxState.UNSENT.value).update(
            state=OutboxState.SENT.value, due_at=None, sent_at=now, lease_token=None, leased_until=None, error=""
        )
        rest = {"lease_token": None, "leased_until": None}
        if away is not None:
            wait = get_event_settings().relay_interval
            leased.update(**rest, due_at=now + wait, error=_shorten(away))
        else:
            leased.update(**rest)


def _note_refusal(alias: str, token: uuid.UUID, row: OutboxEvent, error: SendRefused) -> None:
    """Delay an event that the broker refused, or park it when that happened too often."""
    attempts = row.attempts + 1
    is_over = attempts >= get_event_settings().send_attempts
    facts = {"event_id": str(row.event_id), "event_type": row.type, "key": row.key, "attempts": attempts}
    with own_transaction(alias, durable=True):
        now = read_now(alias)
        OutboxEvent.objects.using(alias).filter(pk=row.pk, lease_token=token, state=OutboxState.UNSENT.value).update(
            attempts=F("attempts") + 1,
            state=(OutboxState.PARKED if is_over else OutboxState.UNSENT).value,
            due_at=None if is_over else now + timedelta(seconds=RETRY.delay_seconds(used=attempts)),
            error=_shorten(error),
            lease_token=None,
            leased_until=None,
        )
    if is_over:
        logger.error("Event parked: the broker refused it too often; its source waits.", extra=facts)
    else:
        logger.warning("Event refused by the broker; it is sent again.", extra={**facts, "error": str(error)})


def count_due(alias: str) -> int:
    """Return how many events wait to be sent now."""
    now = read_now(alias)
    free = Q(leased_until=None) | Q(leased_until__lt=now)
    return OutboxEvent.objects.using(alias).filter(free, state=OutboxState.UNSENT.value, due_at__lte=now).count()


def _shorten(error: Exception) -> str:
    return get_settings().redactor.redact_text(str(error))[:MAX_ERROR_CHARS]
