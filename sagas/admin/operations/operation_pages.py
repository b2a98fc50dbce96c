"""Pages of the operations: show the preview with a form, or perform the operation and report the result.

One page serves all operations. Which exist, who may perform them, when, and what they do is decided in
``preconditions``, ``preview`` and ``operations``.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from ...conf import get_settings
from ...core.history_events import HistoryEvent
from ...engine.store.snapshot import SagaSnapshot
from ...exceptions import BadRequest, OperationRefused, PermissionRefused, SagaNotFound, StaleRevision
from ...models import SagaHistory
from ...operators import operations, preconditions
from ...operators.actor import Actor
from ...operators.audit import access_log
from ...operators.operations import MAX_REASON_CHARS
from ...operators.preconditions import Operation
from ...operators.preview import LABELS, OperationPreview, find_refusals_by_step, preview_operation
from ...operators.remedies import RemedyResult
from ...operators.visibility import find_visibility
from ..saga_page.history_rows import show_history
from ..saga_page.page import GRAVE, operation_url
from ..saga_page.reading import read_history_since, read_name
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from ..ui.page_selection import LIST_FILTERS
from .forms import OperationForm

TEMPLATE = "admin/sagas/saga/operation.html"
PROMISES = {
    Operation.RETRY: "Makes waiting or held steps due now, with a fresh budget of attempts.",
    Operation.COMPENSATE: "Compensates the saga for good: every effect is undone, in reverse order.",
    Operation.SKIP: "Continues the saga without this step.",
    Operation.MARK_SUCCEEDED: "Records this step as succeeded, on your evidence.",
    Operation.MARK_REFUSED: "Records this step as refused, on your evidence.",
    Operation.MARK_COMPENSATED: "Records this step as compensated, on your evidence.",
    Operation.PAUSE: "Holds the saga: live attempts finish, nothing else runs until an operator resumes it.",
    Operation.RESUME: "Ends the pause.",
    Operation.CANCEL: "Asks the saga to turn back as soon as possible.",
    Operation.ABANDON: "Closes the saga for good. Its effects stay and are not compensated.",
}
WORKER_FOLLOWS = "The state below changes as soon as a worker goes on."
# Beside a link back, "Cancel" alone would read as another link back.
OF_A_WHOLE_SAGA = frozenset({Operation.PAUSE, Operation.RESUME, Operation.CANCEL, Operation.ABANDON})
TAKES_STEP = preconditions.STEP_REQUIRED | {Operation.RETRY}


class OperationPage:
    """Request for one operation on one saga."""

    def __init__(self, model_admin: ConsoleAdmin, request: HttpRequest, saga_id: UUID, operation: Operation) -> None:
        self.model_admin = model_admin
        self.request = request
        self.saga_id = saga_id
        self.operation = operation
        self.site = model_admin.admin_site.name
        self.actor = Actor.of_user(request.user)
        self.filters = request.GET.get(LIST_FILTERS, "")

    def ask(self) -> HttpResponse:
        """Show the preview with a form, or why the operation is not possible."""
        step = self._take_step(self.request.GET.get("step"))
        if step is None and self.operation in preconditions.STEP_REQUIRED:
            return self._offer_steps()
        plan = preview_operation(self.operation, self.saga_id, step=step, actor=self.actor)
        if not plan.is_allowed:
            return self._refuse(409, plan.refusal, plan=plan)
        return self._show(plan, OperationForm(operation=self.operation))

    def act(self) -> HttpResponse:
        """Perform the operation if the form is valid and the preview is still current."""
        form = OperationForm(self.request.POST, operation=self.operation)
        is_valid = form.is_valid()
        step = self._take_step(form.cleaned_data.get("step"))
        if not is_valid:
            return self._ask_again(form, step)
        if step is None and self.operation in preconditions.STEP_REQUIRED:
            return self.refuse_request(f"{LABELS[self.operation]} needs a step.")
        arguments = form.arguments if step is None else {**form.arguments, "step": step}
        try:
            result = operations.perform_operation(self.operation, self.saga_id, actor=self.actor, **arguments)
        except StaleRevision as error:
            return self._answer_stale(form, step, str(error))
        except BadRequest as error:
            form.add_error(None, str(error))
            return self._ask_again(form, step)
        except PermissionRefused as error:
            return self._refuse(403, str(error))
        except OperationRefused as error:
            plan = preview_operation(self.operation, self.saga_id, step=step, actor=self.actor)
            return self._refuse(409, str(error), plan=plan, since=self._read_since(form))
        level = messages.INFO if result.is_repeat else messages.SUCCESS
        done = "Nothing was done" if result.is_repeat else "Done"
        text = f"{done}: {result.message}"
        if not result.is_repeat and self.operation not in (Operation.PAUSE, Operation.ABANDON):
            text += f" {WORKER_FOLLOWS}"
        messages.add_message(self.request, level, text)
        return HttpResponseRedirect(self._saga_url())

    def propose(self, step: str, initial: Mapping[str, str], *, answer: RemedyResult) -> HttpResponse:
        """Show the operation that the answer of a remedy suggests, with a form that the answer fills in."""
        plan = preview_operation(self.operation, self.saga_id, step=step, actor=self.actor)
        if not plan.is_allowed:
            return self._refuse(409, plan.refusal, plan=plan)
        form = OperationForm(operation=self.operation, initial=dict(initial))
        url = operation_url(self.site, self.saga_id, self.operation, step)
        return self._render({"plan": plan, "form": form, "answer": answer, "form_url": url})

    def refuse_permission(self, permission: str) -> HttpResponse:
        """Return a page that names the missing permission."""
        return self._refuse(403, f"{self.actor.name} lacks the permission sagas.{permission}.")

    def refuse_request(self, text: str) -> HttpResponse:
        """Return a page that explains what is wrong with the request."""
        return self._refuse(400, text)

    def _ask_again(self, form: OperationForm, step: str | None) -> HttpResponse:
        """Show the form with its errors; if the preview is newer, also show what has changed."""
        plan = preview_operation(self.operation, self.saga_id, step=step, actor=self.actor)
        if not plan.is_allowed:
            return self._refuse(409, plan.refusal, plan=plan, since=self._read_since(form))
        is_stale = form.cleaned_data.get("revision") not in (None, plan.revision)
        if is_stale:
            return self._show(plan, form, status=409, since=self._read_since(form))
        return self._show(plan, form, status=400)

    def _answer_stale(self, form: OperationForm, step: str | None, text: str) -> HttpResponse:
        """Show what has changed and ask again; answer a repeated submit that the first one was performed."""
        since = read_history_since(self.saga_id, form.cleaned_data.get("seen") or 0)
        if done := self._find_own(since, form, step):
            message = f"Already done, and only once: see history entry {done.number}."
            messages.info(self.request, message)
            return HttpResponseRedirect(self._saga_url())
        plan = preview_operation(self.operation, self.saga_id, step=step, actor=self.actor)
        if not plan.is_allowed:
            return self._refuse(409, f"{text} {plan.refusal}", plan=plan, since=since)
        return self._show(plan, form, status=409, since=since, stale=text)

    def _find_own(self, since: list[SagaHistory], form: OperationForm, step: str | None) -> SagaHistory | None:
        reason = get_settings().redactor.redact_text(form.cleaned_data["reason"])
        for entry in since:
            is_this = entry.what == HistoryEvent.OPERATOR_ACTED and entry.to_state == self.operation.value
            is_ours = entry.actor == self.actor.name and entry.reason == reason[:MAX_REASON_CHARS]
            if is_this and is_ours and entry.step == (step or ""):
                return entry
        return None

    def _read_since(self, form: OperationForm) -> list[SagaHistory]:
        """Return the history since the form was rendered; empty when the form does not name an entry."""
        seen = form.cleaned_data.get("seen")
        return read_history_since(self.saga_id, seen) if seen is not None else []

    def _take_step(self, name: str | None) -> str | None:
        return name or None if self.operation in TAKES_STEP else None

    def _offer_steps(self) -> HttpResponse:
        snapshot = SagaSnapshot.load(self.saga_id)
        refusals = find_refusals_by_step(snapshot, self.operation)
        steps = [
            {"name": name, "refusal": refusal, "url": self._step_url(snapshot, name)}
            for name, refusal in refusals.items()
        ]
        is_possible = not all(refusals.values())
        return self._render({"steps": steps}, 200 if is_possible else 409)

    def _show(
        self,
        plan: OperationPreview,
        form: OperationForm,
        *,
        status: int = 200,
        since: list[SagaHistory] | None = None,
        stale: str = "",
    ) -> HttpResponse:
        """Show preview and form. The hidden fields always describe the preview that is shown."""
        context = {"plan": plan, "form": form, "since": self._show_since(plan, since), "stale": stale}
        return self._render({**context, "is_stale": status == 409}, status)

    def _refuse(
        self,
        status: int,
        refusal: str,
        *,
        plan: OperationPreview | None = None,
        since: list[SagaHistory] | None = None,
    ) -> HttpResponse:
        shown = self._show_since(plan, since) if plan is not None else []
        return self._render({"refusal": refusal, "plan": plan, "since": shown}, status)

    def _show_since(self, plan: OperationPreview | None, since: list[SagaHistory] | None) -> list[Any]:
        if plan is None or not since:
            return []
        visibility = access_log.log_visible(
            find_visibility(self.actor), self.actor.name, access_log.What.HISTORY, saga_id=self.saga_id
        )
        return list(show_history(since, since[-1].at, site=self.site, visibility=visibility))

    def _render(self, context: dict[str, Any], status: int = 200) -> HttpResponse:
        label = LABELS[self.operation]
        shared = {
            "title": label,
            "label": label,
            "button": f"{label} the saga" if self.operation in OF_A_WHOLE_SAGA else label,
            "promise": PROMISES[self.operation],
            "is_grave": self.operation in GRAVE,
            "saga_name": read_name(self.saga_id),
            "saga_url": self._saga_url(),
        }
        return self.model_admin.render(self.request, TEMPLATE, {**shared, **context}, status)

    def _step_url(self, snapshot: SagaSnapshot, step: str) -> str:
        return operation_url(self.site, snapshot.saga.pk, self.operation, step, filters=self.filters)

    def _saga_url(self) -> str:
        query = {LIST_FILTERS: self.filters} if self.filters else None
        return find_url(self.site, "sagas_saga_change", self.saga_id, query=query)


def answer(model_admin: ConsoleAdmin, request: HttpRequest, saga_id: UUID, code: str) -> HttpResponse:
    """Return the page of an operation, or its result.

    Raises: Http404 for an unknown operation or saga.
    """
    operation = preconditions.OPERATIONS_BY_CODE.get(code)
    if operation is None:
        raise Http404(f"There is no operation {code!r}.")
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    page = OperationPage(model_admin, request, saga_id, operation)
    permission = preconditions.PERMISSIONS[operation]
    if not page.actor.may(permission):
        return page.refuse_permission(permission)
    try:
        return page.act() if request.method == "POST" else page.ask()
    except SagaNotFound as error:
        raise Http404(str(error)) from error
    except BadRequest as error:
        return page.refuse_request(str(error))
