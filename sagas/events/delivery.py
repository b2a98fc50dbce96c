"""Delivery of events: what each participant sends, receives and owes, keys that are blocked, and who hears nothing."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from ..models import InboxKey
from . import catalogue
from .asking import ask_each
from .declaration import EventType, list_types
from .overview import Overview, read_overview

MAX_BLOCKED = 50  # of each database
# The order makes each part read one entry of the unique index.
READ_SILENT = """
    SELECT who.label FROM unnest(%s::text[]) AS who (label) LEFT JOIN LATERAL (
        SELECT id FROM sagas_inboxevent WHERE consumer = who.label ORDER BY source, event_id LIMIT 1
    ) AS heard ON true WHERE heard.id IS NULL
"""


@dataclass(frozen=True, kw_only=True)
class BlockedKey:
    """Key of a consumer that waits behind a failed event."""

    consumer: str
    key: str
    event_id: str
    """The failed event."""
    source: str
    type: str
    state: str
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Delivery between all participants that run here."""

    overviews: list[Overview]
    """One for each database that answered."""
    blocked: list[BlockedKey]
    """Oldest first; at most MAX_BLOCKED of each database."""
    silent: list[str]
    """Consumers that have never received an event."""
    unheard: list[EventType]
    """Events that no participant handles."""
    unreachable: dict[str, str]
    """Reason by the alias of a database that did not answer."""


def read_delivery() -> Delivery:
    """Return the delivery of all databases that answer."""
    answers = ask_each(catalogue.event_databases(), _read)
    parts = answers.found.values()
    return Delivery(
        overviews=[overview for overview, _, _ in parts],
        blocked=sorted((key for _, blocked, _ in parts for key in blocked), key=lambda key: key.received_at),
        silent=sorted(label for _, _, silent in parts for label in silent),
        unheard=[declared for declared in list_types() if not catalogue.consumers_of(declared)],
        unreachable=answers.unreachable,
    )


def _read(alias: str) -> tuple[Overview, list[BlockedKey], list[str]]:
    overview = read_overview(alias)
    heads = InboxKey.objects.using(alias).filter(head__isnull=False).select_related("head").order_by("head_id")
    blocked = [
        BlockedKey(
            consumer=row.consumer, key=row.key, event_id=row.head.event_id, source=row.head.source, type=row.head.type,
            state=row.head.state, received_at=row.head.received_at,
        )
        for row in heads[:MAX_BLOCKED]
        if row.head is not None
    ]  # fmt: skip
    with connections[alias].cursor() as cursor:
        cursor.execute(READ_SILENT, [[one.consumer for one in overview.consumers]])
        silent = [label for (label,) in cursor.fetchall()]
    return overview, blocked, silent
