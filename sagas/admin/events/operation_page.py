"""Pages of the operations on one event: show the plan with a form, or perform the operation and report the result."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from ...events.details import count_behind
from ...events.operations import EventChanged, EventNotFound, OperationResult
from ...exceptions import BadRequest, OperationRefused, PermissionRefused
from ...operators import event_operations
from ...operators.actor import Actor
from ...operators.event_operations import PERMISSIONS, EventOperation
from ...operators.operations import MAX_REASON_CHARS, MIN_REASON_CHARS
from ...operators.presentation.badges import in_words
from ..operations.forms import WordsField
from ..ui.base_filter import QueryRefused, read_once
from ..ui.console_admin import ConsoleAdmin
from .event_page import read_identity
from .event_reader import check_request, find_event_url, list_link, refuse

TEMPLATE = "admin/sagas/events/operation.html"
MAX_VERSION_CHARS = 40
SEND_AGAIN = "Send again"
LABELS: Mapping[EventOperation, str] = {
    EventOperation.RETRY: "Retry now",
    EventOperation.REPLAY: "Run again",
    EventOperation.DISCARD: "Discard",
}
PROMISES: Mapping[EventOperation, str] = {
    EventOperation.RETRY: "The handler runs again on the stored event, with a fresh budget of attempts. Its earlier"
    " runs were rolled back. The handler's own guard decides what is left to do: if the state has moved on, it does"
    " nothing.",
    EventOperation.REPLAY: "The handler runs once more, now, on the event in the inbox, whether or not it was handled"
    " before. Only the handler's own guard prevents a second effect. If it fails, nothing is changed.",
    EventOperation.DISCARD: "The event is given up for this consumer, for good: its handler does not run. Events of the"
    " same key that wait behind it follow.",
}
SEND_AGAIN_PROMISE = (
    "The relay sends the event to the broker once more, under the same id. A consumer that has it ignores it; one that"
    " lost it handles it."
)


class ReasonForm(forms.Form):
    """Form with the reason; the hidden field names the version of the event that the plan was made of."""

    version = forms.CharField(max_length=MAX_VERSION_CHARS, widget=forms.HiddenInput)
    reason = WordsField(
        label="Reason", help_text=f"{MIN_REASON_CHARS} to {MAX_REASON_CHARS} characters; kept with the event for good."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})


class EventOperationPage:
    """Request for one operation on one event."""

    def __init__(self, model_admin: ConsoleAdmin, request: HttpRequest, operation: EventOperation) -> None:
        self.model_admin = model_admin
        self.request = request
        self.operation = operation
        self.site = model_admin.admin_site.name
        self.actor = Actor.of_user(request.user)
        self.event_id, self.source = read_identity(request)
        self.consumer = read_once(request, "consumer")

    def ask(self) -> HttpResponse:
        """Show the plan with a form, or why the operation is not possible."""
        return self._show(ReasonForm(), 200)

    def act(self) -> HttpResponse:
        """Perform the operation if the form is valid and the event is still as the plan says."""
        form = ReasonForm(self.request.POST)
        if not form.is_valid():
            return self._show(form, 400)
        try:
            result = event_operations.operate(
                self.operation, self.event_id, actor=self.actor, reason=form.cleaned_data["reason"],
                consumer=self.consumer, source=self.source, version=form.cleaned_data["version"],
            )  # fmt: skip
        except EventChanged as error:
            return self._show(form, 409, stale=str(error))
        except BadRequest as error:
            form.add_error(None, str(error))
            return self._show(form, 400)
        except PermissionRefused as error:
            return self._render({"refusal": str(error)}, 403)
        except OperationRefused as error:
            return self._render({"refusal": str(error)}, 409)
        except Error as error:
            return self._render({"refusal": f"{type(error).__name__} of the database. See below what was done."}, 503)
        done = "Nothing was done" if result.is_repeat else "Done"
        messages.add_message(
            self.request, messages.INFO if result.is_repeat else messages.SUCCESS, f"{done}: {result.message}"
        )
        return HttpResponseRedirect(self._event_url())

    def _show(self, form: ReasonForm, status: int, *, stale: str = "") -> HttpResponse:
        """Show plan and form; the hidden field always describes the plan that is shown."""
        try:
            plan = self._plan()
            behind = count_behind(self.consumer, plan.key) if self.consumer else 0
        except PermissionRefused as error:
            return self._render({"refusal": str(error)}, 403)
        except BadRequest as error:
            return self._render({"refusal": str(error)}, 400)
        except OperationRefused as error:
            return self._render({"refusal": f"{stale} {error}".strip()}, 409)
        except Error as error:
            return self._render({"refusal": f"{type(error).__name__}: the database did not answer."}, 503)
        return self._render({"plan": plan, "form": form, "stale": stale, "behind": behind}, status)

    def _plan(self) -> OperationResult:
        return event_operations.plan(
            self.operation, self.event_id, actor=self.actor, consumer=self.consumer, source=self.source
        )

    def _render(self, context: dict[str, Any], status: int) -> HttpResponse:
        is_sent_again = self.operation is EventOperation.REPLAY and not self.consumer
        plan = context.get("plan")
        shared = {
            "title": SEND_AGAIN if is_sent_again else LABELS[self.operation],
            **list_link(self.model_admin),
            "promise": SEND_AGAIN_PROMISE if is_sent_again else PROMISES[self.operation],
            "is_grave": self.operation is EventOperation.DISCARD,
            "event_name": f"{plan.type or 'Unreadable event'} {plan.key or plan.event_id}" if plan else self.event_id,
            "consumer": self.consumer,
            "event_url": self._event_url(),
            "now": in_words(plan.state_before) if plan else "",
            "then": in_words(plan.state) if plan else "",
        }
        return self.model_admin.render(self.request, TEMPLATE, {**shared, **context}, status)

    def _event_url(self) -> str:
        return find_event_url(self.site, self.event_id, self.source)


def operation_view(model_admin: ConsoleAdmin, request: HttpRequest, operation: EventOperation) -> HttpResponse:
    """Show the page of an operation, or its result.

    Raises: PermissionDenied.
    """
    if refusal := check_request(model_admin, request, "POST", permission=PERMISSIONS[operation]):
        return refusal
    try:
        page = EventOperationPage(model_admin, request, operation)
        return page.act() if request.method == "POST" else page.ask()
    except QueryRefused as error:
        return refuse(model_admin, request, str(error))
    except EventNotFound as error:
        return refuse(model_admin, request, str(error), status=404)
