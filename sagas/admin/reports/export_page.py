"""Downloads: the filtered list, or one saga."""

from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ... import clock
from ...models import Saga
from ...operators.actor import Actor
from ...operators.audit import access_log
from ...operators.presentation.documents import strip_document, write_documents
from ...operators.queries.export import write_csv, write_ndjson
from ...operators.visibility import Visibility, find_visibility
from ..ui.base_filter import QueryRefused
from ..ui.console_admin import ConsoleAdmin
from ..ui.view_only import engine_database

Writer = Callable[..., Iterator[str]]
FORMS: Mapping[str, tuple[Writer, str]] = {
    "csv": (write_csv, "text/csv; charset=utf-8"),
    "ndjson": (write_ndjson, "application/x-ndjson; charset=utf-8"),
}


def export_view(model_admin: ConsoleAdmin, request: HttpRequest, *, form: str) -> HttpResponseBase:
    """Stream the sagas that the list finds with the same query.

    A query that the list refuses is refused here too: a download must not hold everything instead.

    Raises: PermissionDenied; Http404 for an unknown format.
    """
    _check(model_admin, request)
    if form not in FORMS:
        raise Http404(f"There is no export format {form!r}.")
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    write, content_type = FORMS[form]
    try:
        sagas: QuerySet[Saga] = model_admin.get_changelist_instance(request).queryset
    except QueryRefused as error:
        return model_admin.refuse_query(request, f"{error} Nothing was exported.")
    lines = write(sagas, _find_visibility(request, access_log.What.EXPORT))
    moment = clock.read_now(engine_database())
    response = StreamingHttpResponse(lines, content_type=content_type)
    return _name(response, f"sagas-{moment:%Y%m%d-%H%M%S}.{form}")


def answer_bundle(model_admin: ConsoleAdmin, request: HttpRequest, *, saga_id: UUID) -> HttpResponseBase:
    """Send one saga with everything that belongs to it, as JSON.

    Raises: PermissionDenied; Http404.
    """
    _check(model_admin, request)
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    documents = write_documents([saga_id], pretty=True)
    if not documents:
        raise Http404(f"There is no saga {saga_id}.")
    visibility = _find_visibility(request, access_log.What.BUNDLE, saga_id)
    text = strip_document(documents[0], visibility, indent=4)
    return _name(HttpResponse(text + "\n", content_type="application/json"), f"saga-{saga_id}.json")


def _check(model_admin: ConsoleAdmin, request: HttpRequest) -> None:
    if not model_admin.has_view_permission(request):
        raise PermissionDenied


def _find_visibility(request: HttpRequest, what: access_log.What, saga_id: UUID | None = None) -> Visibility:
    """Return what the download holds, after its access was logged; a HEAD request gets no download."""
    actor = Actor.of_user(request.user)
    wanted = find_visibility(actor)
    if request.method != "GET":
        return wanted
    # Decoded: a secret in a query is recognised by its shape, which percent-encoding would hide.
    query = ", ".join(f"{name}={value}" for name, values in request.GET.lists() for value in values)
    return access_log.log_visible(wanted, actor.name, what, saga_id=saga_id, detail=query)


def _name(response: HttpResponseBase, filename: str) -> HttpResponseBase:
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    response["Cache-Control"] = "no-store"
    return response
