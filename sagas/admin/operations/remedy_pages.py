"""Pages of remedies: run one, show its answer, and lead to the operation that it suggests.

A look-up is run by one POST; its answer is shown on the page of the suggested operation, with the evidence filled in. A
repair first asks for a reason, and may retry the step at once.
"""

import json
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from ...engine.store.snapshot import SagaSnapshot
from ...exceptions import BadRequest, OperationRefused, PermissionRefused, RemedyFailed, SagaNotFound, StaleRevision
from ...operators import preconditions, remedies
from ...operators.actor import Actor
from ...operators.preconditions import Operation
from ...operators.preview import find_obstacle
from ...operators.remedies import OfferedRemedy, RemedyResult
from ..saga_page.reading import read_name
from ..ui.addresses import find_saga_url
from ..ui.console_admin import ConsoleAdmin
from .forms import MAX_NUMBER, WordsField
from .operation_pages import WORKER_FOLLOWS, OperationPage

TEMPLATE = "admin/sagas/saga/remedy.html"


class RepairForm(forms.Form):
    """Form with the reason of a repair, the revision it was decided on, and whether the step is then retried."""

    revision = forms.IntegerField(min_value=1, max_value=MAX_NUMBER, widget=forms.HiddenInput)
    reason = WordsField(label="Reason", help_text="10 to 500 characters; kept in the history for good.")
    retries = forms.BooleanField(required=False, initial=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        self.fields["reason"].widget.attrs["autofocus"] = True


class RemedyPage:
    """Request for one remedy of one step."""

    def __init__(self, model_admin: ConsoleAdmin, request: HttpRequest, saga_id: UUID, step: str, name: str) -> None:
        self.model_admin = model_admin
        self.request = request
        self.saga_id = saga_id
        self.step = step
        self.name = name
        self.actor = Actor.of_user(request.user)
        self.saga_url = find_saga_url(model_admin.admin_site.name, saga_id)

    def ask(self) -> HttpResponse:
        """Show what the remedy does, with a button to run it."""
        snapshot = SagaSnapshot.load(self.saga_id)
        offered = remedies.find_offered(snapshot, self.name, self.step)
        return self._show(snapshot, offered, RepairForm())

    def run(self) -> HttpResponse:
        """Run the remedy, and show its answer with what can follow."""
        snapshot = SagaSnapshot.load(self.saga_id)
        offered = remedies.find_offered(snapshot, self.name, self.step)
        form, arguments = RepairForm(), {}
        if offered.remedy.is_repair:
            form = RepairForm(self.request.POST)
            if not form.is_valid():
                return self._show(snapshot, offered, form, status=400)
            arguments = form.cleaned_data
        try:
            found = remedies.run_remedy(self.saga_id, self.name, actor=self.actor, step=self.step, **arguments)
        except RemedyFailed as error:
            return self._show(SagaSnapshot.load(self.saga_id), offered, form, status=502, failure=str(error))
        if offered.remedy.is_repair:
            level = messages.INFO if found.is_repeat else messages.SUCCESS
            done = "Nothing was done" if found.is_repeat else "Done"
            follows = f" {WORKER_FOLLOWS}" if found.retried else ""
            messages.add_message(self.request, level, f"{done}: {found.message}{follows}")
            return HttpResponseRedirect(self.saga_url)
        if found.suggestion is None:
            return self._render({"answer": found, "label": offered.label})
        page = OperationPage(self.model_admin, self.request, self.saga_id, found.suggestion)
        return page.propose(self.step, _fill(found), answer=found)

    def refuse(self, status: int, refusal: str) -> HttpResponse:
        """Return a page that explains why nothing was run."""
        return self._render({"refusal": refusal}, status)

    def _show(
        self, snapshot: SagaSnapshot, offered: OfferedRemedy, form: RepairForm, *, status: int = 200, failure: str = ""
    ) -> HttpResponse:
        may_retry = self.actor.may(preconditions.PERMISSIONS[Operation.RETRY])
        context = {
            "label": offered.label,
            "remedy": offered.remedy,
            "step": offered.step,
            "position": preconditions.describe(snapshot),
            "revision": snapshot.saga.revision,
            "can_retry": may_retry and not find_obstacle(snapshot, Operation.RETRY, offered.step),
            "form": form,
            "failure": failure,
        }
        return self._render(context, status)

    def _render(self, context: dict[str, Any], status: int = 200) -> HttpResponse:
        shared = {
            "title": "Remedy", "label": "Remedy", "saga_name": read_name(self.saga_id), "saga_url": self.saga_url,
        }  # fmt: skip
        return self.model_admin.render(self.request, TEMPLATE, {**shared, **context}, status)


def answer(model_admin: ConsoleAdmin, request: HttpRequest, saga_id: UUID, step: str, name: str) -> HttpResponse:
    """Return the page of a remedy, or its answer.

    Raises: Http404 for an unknown saga.
    """
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    page = RemedyPage(model_admin, request, saga_id, step, name)
    try:
        page.actor.require(remedies.PERMISSION)
        return page.run() if request.method == "POST" else page.ask()
    except SagaNotFound as error:
        raise Http404(str(error)) from error
    except PermissionRefused as error:
        return page.refuse(403, str(error))
    except StaleRevision as error:
        return page.refuse(409, str(error))
    except BadRequest as error:
        return page.refuse(400, str(error))
    except OperationRefused as error:
        return page.refuse(409, str(error))


def _fill(found: RemedyResult) -> dict[str, str]:
    """Return the values that an answer fills into the form of the operation."""
    result = "" if found.result is None else json.dumps(found.result, ensure_ascii=False)
    return {"evidence": found.evidence, "result": result}
