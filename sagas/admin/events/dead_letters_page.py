"""Page of dead letters: events that wait for an operator, grouped by consumer, type and error."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse

from ... import clock
from ...events.dead_letters import MAX_GROUPS, MAX_READ, DeadGroup, read_dead_letters
from ...models import InboxState
from ...operators.event_operations import PERMISSIONS, EventOperation
from ...operators.presentation.badges import Badge
from ...operators.presentation.event_badges import INBOX_BADGES
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from ..ui.formatting import Moment, show_moment
from .event_reader import EventReader, check_request, find_event_url

TEMPLATE = "admin/sagas/events/dead_letters.html"


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """Row of one group."""

    group: DeadGroup
    badge: Badge
    pattern: str
    """Common pattern of the messages; empty without the permission to see them."""
    example: str
    """Newest message, if it differs from the pattern; empty without the permission."""
    first: Moment
    last: Moment
    newest_url: str
    """Page of the event that came last."""
    list_url: str
    """List of such events, of this type in this state with this consumer."""
    retry_url: str
    """Page that retries the group; empty without the permission, and for what was never run."""


def dead_letters_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show the groups.

    Raises: PermissionDenied.
    """
    if refusal := check_request(model_admin, request):
        return refusal
    found = read_dead_letters()
    reader = EventReader.of(request)
    reader = reader.log("groups of dead letters") if found.groups else reader
    context = {
        "title": "Dead letters",
        "list_url": "",
        "rows": list(_list_rows(found.groups, reader, model_admin.admin_site.name)),
        "found": found,
        "reader": reader,
        "limits": {"read": f"{MAX_READ:,}", "groups": MAX_GROUPS},
    }
    return model_admin.render(request, TEMPLATE, context)


def _list_rows(groups: list[DeadGroup], reader: EventReader, site: str) -> Iterator[GroupRow]:
    now = clock.shifted(datetime.now(UTC))
    may_retry = reader.actor.may(PERMISSIONS[EventOperation.RETRY])
    for group in groups:
        newest, pattern = group.newest, group.pattern
        same = {"type": newest.type, "state": newest.state.value, "participant": newest.consumer}
        is_retried = may_retry and newest.state is InboxState.DEAD
        yield GroupRow(
            group=group,
            badge=INBOX_BADGES[newest.state],
            pattern=pattern if reader.has_errors else "",
            example=newest.error if reader.has_errors and newest.error != pattern else "",
            first=show_moment(group.events[-1].received_at, now),
            last=show_moment(newest.received_at, now),
            newest_url=find_event_url(site, newest.id, newest.source),
            list_url=find_url(site, "sagas_saga_events", query={name: value for name, value in same.items() if value}),
            retry_url=find_url(site, "sagas_saga_dead_letters_retry", group.key) if is_retried else "",
        )
