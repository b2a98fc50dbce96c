"""Page of the delivery of events: a row for each participant, blocked keys, and who hears nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse

from ...events.declaration import EventType
from ...events.delivery import MAX_BLOCKED, BlockedKey, Delivery, read_delivery
from ...events.overview import MAX_COUNTED, RECENTLY, ConsumerOverview, Group, SenderOverview
from ...events.troubles import Trouble, find_troubles
from ...models import InboxState
from ...operators.presentation.badges import Badge, Tone
from ...operators.presentation.event_badges import INBOX_BADGES
from ...operators.presentation.times import describe_span
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from ..ui.formatting import Moment, show_moment
from .event_reader import check_request, find_event_url

TEMPLATE = "admin/sagas/events/delivery.html"
FINE = Badge(word="delivers", icon="check", tone=Tone.GOOD)
TROUBLED = Badge(word="needs attention", icon="warning", tone=Tone.URGENT)
MINUTES = RECENTLY.total_seconds() / 60


@dataclass(frozen=True, kw_only=True)
class Count:
    """Number that leads to what it counts."""

    text: str
    url: str
    """Empty for none."""


@dataclass(frozen=True, kw_only=True)
class ParticipantRow:
    """Row of one participant."""

    name: str
    badge: Badge
    troubles: list[Trouble]
    is_sender: bool
    is_consumer: bool
    unsent: Count
    oldest: str
    relayed: str
    lag: str
    waiting: Count
    dead: Count
    seen: Moment | None
    """When a consumer of it was last seen."""


def delivery_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show the delivery.

    Raises: PermissionDenied.
    """
    if refusal := check_request(model_admin, request):
        return refusal
    found, site = read_delivery(), model_admin.admin_site.name
    context = {
        "title": "Delivery",
        "list_url": "",
        "rows": list(_list_rows(found, site)),
        "blocked": list(_list_blocked(found, site)),
        "unheard": [_show_type(declared, site) for declared in found.unheard],
        "silent": found.silent,
        "unreachable": found.unreachable,
        "limits": {"counted": f"{MAX_COUNTED:,}", "blocked": MAX_BLOCKED, "minutes": f"{MINUTES:g}"},
    }
    return model_admin.render(request, TEMPLATE, context)


def _list_rows(found: Delivery, site: str) -> Iterator[ParticipantRow]:
    for overview in found.overviews:
        troubles = find_troubles(overview)
        senders = {sender.participant: sender for sender in overview.senders}
        consumers = {consumer.consumer: consumer for consumer in overview.consumers}
        for name in sorted({*senders, *consumers}):
            own = [trouble for trouble in troubles if trouble.participant == name]
            yield _build_row(name, senders.get(name), consumers.get(name), own, overview.now, site)


def _build_row(
    name: str,
    sender: SenderOverview | None,
    consumer: ConsumerOverview | None,
    troubles: list[Trouble],
    now: datetime,
    site: str,
) -> ParticipantRow:
    unsent = sender.unsent if sender else Group()
    groups = consumer.groups if consumer else {}
    return ParticipantRow(
        name=name,
        badge=TROUBLED if troubles else FINE,
        troubles=troubles,
        is_sender=sender is not None,
        is_consumer=consumer is not None,
        unsent=_count(unsent, site, name, "unsent"),
        oldest=describe_span(unsent.oldest_age) if unsent.count else "-",
        relayed=f"{sender.relayed_recently / MINUTES:.1f}" if sender else "-",
        lag="unknown" if consumer is None or consumer.lag is None else f"{consumer.lag:,}",
        waiting=_count(groups.get(InboxState.RETRYING, Group()), site, name, InboxState.RETRYING),
        dead=_count(groups.get(InboxState.DEAD, Group()), site, name, InboxState.DEAD),
        seen=show_moment(consumer.seen_at, now) if consumer and consumer.seen_at else None,
    )


def _count(group: Group, site: str, participant: str, state: str) -> Count:
    text = f"{MAX_COUNTED:,}+" if group.count >= MAX_COUNTED else f"{group.count:,}"
    query = {"participant": participant, "state": str(state)}
    return Count(text=text, url=find_url(site, "sagas_saga_events", query=query) if group.count else "")


def _list_blocked(found: Delivery, site: str) -> Iterator[tuple[BlockedKey, Badge, Moment, str, str]]:
    now = max((overview.now for overview in found.overviews), default=None)
    for key in found.blocked:
        list_url = find_url(site, "sagas_saga_events", query={"key": key.key})
        event_url = find_event_url(site, key.event_id, key.source)
        yield key, INBOX_BADGES[key.state], show_moment(key.received_at, now or key.received_at), event_url, list_url


def _show_type(declared: EventType, site: str) -> dict[str, Any]:
    return {"name": declared.name, "url": find_url(site, "sagas_saga_events", query={"type": declared.name})}
