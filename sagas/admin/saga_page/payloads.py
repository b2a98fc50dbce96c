"""Download of one whole JSON value of a saga, exactly as stored."""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import Http404, HttpRequest, HttpResponse

from ...core.history_events import HistoryEvent
from ...models import Saga, SagaHistory, SagaStep
from ...operators.actor import Actor
from ...operators.audit import access_log
from ...operators.visibility import find_visibility
from ..ui.addresses import find_url
from ..ui.page_selection import parse_number
from ..ui.view_only import engine_database

NO_VALUE = "There is no such value."


def payload_url(site: str, saga_id: UUID, **query: str | int) -> str:
    """Return the URL of a value: ``of="input"``, ``of="result"`` with ``step``, or ``of="data"`` with ``number``."""
    return find_url(site, "sagas_saga_payload", saga_id, query=query)


def answer(request: HttpRequest, saga_id: UUID) -> HttpResponse:
    """Return the value that the query names, as a file. The caller has checked that the user may view sagas.

    Raises: PermissionDenied, Http404.
    """
    of, step = request.GET.get("of", ""), request.GET.get("step", "").replace("\x00", "")
    number = parse_number(request.GET.get("number")) or 0
    name = {"result": f"result-{step}", "data": f"data-{number}"}.get(of, of)
    rows: QuerySet[Any] = _select(of, saga_id, step, number)
    # Every viewer sees the data of operators' entries, so every viewer may download it.
    may_see = find_visibility(Actor.of_user(request.user)).has_payloads
    if not may_see:
        if of != "data":
            raise PermissionDenied
        rows = rows.filter(what=HistoryEvent.OPERATOR_ACTED.value)
        if not rows.exists():
            raise PermissionDenied
    text = rows.values_list("whole", flat=True).first()
    if text is None:
        raise Http404(NO_VALUE)
    if may_see and not access_log.log_access(
        request.user.get_username(), access_log.What.VALUE, saga_id=saga_id, detail=name
    ):
        raise PermissionDenied
    response = HttpResponse(text, content_type="application/json")
    safe_name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "_" for letter in name)
    response["Content-Disposition"] = f'attachment; filename="{saga_id}-{safe_name}.json"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _select(of: str, saga_id: UUID, step: str, number: int) -> QuerySet[Any]:
    using = engine_database()
    rows: dict[str, tuple[type[Model], str, dict[str, Any]]] = {
        "input": (Saga, "input", {"pk": saga_id}),
        "result": (SagaStep, "result", {"saga_id": saga_id, "name": step, "result__isnull": False}),
        "data": (SagaHistory, "data", {"saga_id": saga_id, "number": number}),
    }
    if of not in rows:
        raise Http404(NO_VALUE)
    model, column, conditions = rows[of]
    found: QuerySet[Any] = (
        model._default_manager.using(using).filter(**conditions).annotate(whole=Cast(column, TextField()))
    )
    return found
