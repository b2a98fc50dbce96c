"""Page of a new note on a saga: it stores the note, or shows the form again with what is wrong."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from ...exceptions import BadRequest, OperationRefused, PermissionRefused, SagaNotFound
from ...operators.actor import Actor
from ...operators.notes import PERMISSION, add_note
from ..saga_page.reading import read_name
from ..ui.addresses import find_saga_url
from ..ui.console_admin import ConsoleAdmin
from .forms import NoteForm

TEMPLATE = "admin/sagas/saga/note.html"


def answer_note(model_admin: ConsoleAdmin, request: HttpRequest, saga_id: UUID) -> HttpResponse:
    """Store the note of a form, once, and redirect to the saga's page. The caller has checked the view permission."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    actor, form = Actor.of_user(request.user), NoteForm(request.POST)
    try:
        actor.require(PERMISSION)
        if not form.is_valid():
            return _render(model_admin, request, saga_id, 400, form=form)
        note = add_note(saga_id, actor=actor, **form.cleaned_data)
    except SagaNotFound as error:
        return model_admin.refuse_query(request, str(error), status=404)
    except BadRequest as error:
        form.add_error("text", str(error))
        return _render(model_admin, request, saga_id, 400, form=form)
    except PermissionRefused as error:
        return _render(model_admin, request, saga_id, 403, refusal=str(error))
    except OperationRefused as error:
        return _render(model_admin, request, saga_id, 409, refusal=str(error))
    if note.is_repeat:
        messages.info(request, f"The note was stored before, and only once: see history entry {note.number}.")
    else:
        messages.success(request, f"The note is stored as history entry {note.number}.")
    return HttpResponseRedirect(find_saga_url(model_admin.admin_site.name, saga_id))


def _render(
    model_admin: ConsoleAdmin,
    request: HttpRequest,
    saga_id: UUID,
    status: int,
    *,
    form: NoteForm | None = None,
    refusal: str = "",
) -> HttpResponse:
    context = {
        "title": "Add a note", "form": form, "refusal": refusal, "saga_name": read_name(saga_id),
        "saga_url": find_saga_url(model_admin.admin_site.name, saga_id),
    }  # fmt: skip
    return model_admin.render(request, TEMPLATE, context, status)
