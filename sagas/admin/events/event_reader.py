"""Reader of the pages about events: what the user may see and do, and the answers that all these pages share."""

from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from ...events.settings import get_event_settings
from ...operators.actor import Actor
from ...operators.audit import access_log
from ...operators.event_operations import VIEW, VIEW_PAYLOAD, VIEW_PERSONAL
from ...operators.visibility import VIEW_ERROR
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin

OFF = "Events are off. Set SAGAS['EVENTS']['URL'] to the broker's URL."


@dataclass(frozen=True, kw_only=True)
class EventReader:
    """User of a page about events."""

    actor: Actor
    has_errors: bool
    """Whether error texts are shown."""
    has_payloads: bool
    """Whether data and tracebacks are shown."""
    has_personal: bool
    """Whether personal data are shown."""

    @classmethod
    def of(cls, request: HttpRequest) -> "EventReader":
        """Return the user of a request."""
        actor = Actor.of_user(request.user)
        has_payloads = actor.may(VIEW_PAYLOAD)
        return cls(
            actor=actor,
            has_errors=has_payloads or actor.may(VIEW_ERROR),
            has_payloads=has_payloads,
            has_personal=has_payloads and actor.may(VIEW_PERSONAL),
        )

    def log(self, detail: str) -> "EventReader":
        """Record that the reader is about to see error texts or data.

        Returns: the reader; one who sees states alone if that could not be recorded.
        """
        if not self.has_errors:
            return self
        shown = detail if self.has_payloads else f"{access_log.ERRORS_ONLY}, {detail}"
        if access_log.log_access(self.actor.name, access_log.What.EVENT, detail=shown):
            return self
        return EventReader(actor=self.actor, has_errors=False, has_payloads=False, has_personal=False)


def check_request(
    model_admin: ConsoleAdmin, request: HttpRequest, *methods: str, permission: str = VIEW
) -> HttpResponse | None:
    """Return the answer to a wrong method, or while events are off; None: the page may be shown.

    Raises: PermissionDenied.
    """
    actor = Actor.of_user(request.user)
    if not (actor.may(VIEW) and actor.may(permission)):
        raise PermissionDenied
    allowed = ["GET", "HEAD", *methods]
    if request.method not in allowed:
        return HttpResponseNotAllowed(allowed)
    return None if get_event_settings().are_on else refuse(model_admin, request, OFF, status=404)


def refuse(model_admin: ConsoleAdmin, request: HttpRequest, text: str, *, status: int = 400) -> HttpResponse:
    """Return a page that says what is wrong and links to the list of events."""
    context = {"title": "Events", "refusal": text, "nothing": "Nothing is shown.", **list_link(model_admin)}
    return model_admin.render(request, "admin/sagas/refused.html", context, status)


def list_link(model_admin: ConsoleAdmin) -> dict[str, str]:
    """Return the link above the title of a page that belongs to the list of events."""
    return {"list_url": find_url(model_admin.admin_site.name, "sagas_saga_events"), "list_title": "Events"}


def find_event_url(site: str, event_id: str, source: str, page: str = "", **query: str) -> str:
    """Return the URL of an event's page, or of an operation on it. Ids of foreign services may hold any character."""
    name = f"sagas_saga_event_{page}" if page else "sagas_saga_event"
    return find_url(site, name, query={"id": event_id, "source": source, **query})
