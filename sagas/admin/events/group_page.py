"""Page that retries a group of dead letters: the plan with a form, then the result of each event."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse

from ... import clock
from ...events.dead_letters import DeadEvent
from ...exceptions import BadRequest, OperationRefused, PermissionRefused
from ...operators import dead_letters
from ...operators.actor import Actor
from ...operators.dead_letters import CONFIRM_COUNT_ABOVE, MAX_RETRIED, RetryResult
from ...operators.event_operations import PERMISSIONS, EventOperation
from ...operators.operations import MAX_REASON_CHARS, MIN_REASON_CHARS
from ...operators.presentation.badges import Badge, Tone
from ..operations.forms import WordsField
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from ..ui.formatting import show_moment
from .event_reader import check_request, find_event_url
from .operation_page import PROMISES

TEMPLATE = "admin/sagas/events/retry_group.html"
SAMPLE_SIZE = 10
DONE = Badge(word="due now", icon="check", tone=Tone.GOOD)
REFUSED = Badge(word="refused", icon="hand", tone=Tone.URGENT)


class GroupForm(forms.Form):
    """Form with the reason and, for many events, their number.

    The hidden field is the arrival of the newest event of the plan: those that come later are left alone.
    """

    until = forms.DateTimeField(widget=forms.HiddenInput)
    reason = WordsField(
        label="Reason",
        help_text=f"{MIN_REASON_CHARS} to {MAX_REASON_CHARS} characters; kept with each event for good.",
    )
    count = forms.IntegerField(
        label="How many events?", required=False, min_value=1, max_value=MAX_RETRIED,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )  # fmt: skip

    def __init__(self, *args: Any, events: list[DeadEvent], **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        if len(events) > CONFIRM_COUNT_ABOVE:
            self.fields["count"].help_text = f"Type {len(events)} to confirm it."
        else:
            del self.fields["count"]


def retry_group_view(model_admin: ConsoleAdmin, request: HttpRequest, key: str) -> HttpResponse:
    """Show what a retry of a group would do, or perform it.

    Raises: PermissionDenied.
    """
    permission = PERMISSIONS[EventOperation.RETRY]
    if refusal := check_request(model_admin, request, "POST", permission=permission):
        return refusal
    if request.method != "POST":
        return _show_plan(model_admin, request, key)
    form = GroupForm(request.POST, events=dead_letters.find_group(key))
    if not form.is_valid():
        return _show_plan(model_admin, request, key, form=form, status=400)
    given = form.cleaned_data
    try:
        results = dead_letters.retry_group(
            key, actor=Actor.of_user(request.user), reason=given["reason"], until=given["until"],
            confirmed=given.get("count"),
        )  # fmt: skip
    except BadRequest as error:
        form.add_error("count" if "count" in form.fields else None, str(error))
        return _show_plan(model_admin, request, key, form=form, status=400)
    except PermissionRefused as error:
        return _render(model_admin, request, {"refusal": str(error)}, 403)
    except OperationRefused as error:
        return _render(model_admin, request, {"refusal": str(error)}, 409)
    return _show_results(model_admin, request, results)


def _show_plan(
    model_admin: ConsoleAdmin, request: HttpRequest, key: str, *, form: GroupForm | None = None, status: int = 200
) -> HttpResponse:
    events, site = dead_letters.find_group(key), model_admin.admin_site.name
    if not events:
        refusal = "No event of this group is dead any more. Dead letters lists what is."
        return _render(model_admin, request, {"refusal": refusal}, 409)
    now = clock.shifted(datetime.now(UTC))
    sample = [
        (event, find_event_url(site, event.id, event.source), show_moment(event.received_at, now))
        for event in events[:SAMPLE_SIZE]
    ]
    context = {
        "events": events,
        "first": events[0],
        "sample": sample,
        "until": events[-1].received_at.isoformat(),
        "keys": len({event.key for event in events}),
        "promise": PROMISES[EventOperation.RETRY],
        "form": form or GroupForm(events=events),
        "most": MAX_RETRIED,
    }
    return _render(model_admin, request, context, status)


def _show_results(model_admin: ConsoleAdmin, request: HttpRequest, results: list[RetryResult]) -> HttpResponse:
    site = model_admin.admin_site.name
    rows = [
        (result, find_event_url(site, result.event.id, result.event.source), DONE if result.is_done else REFUSED)
        for result in results
    ]
    return _render(model_admin, request, {"results": rows, "done": sum(result.is_done for result in results)}, 200)


def _render(model_admin: ConsoleAdmin, request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
    link = {"list_url": find_url(model_admin.admin_site.name, "sagas_saga_dead_letters"), "list_title": "Dead letters"}
    return model_admin.render(request, TEMPLATE, {"title": "Retry a group", **link, **context}, status)
