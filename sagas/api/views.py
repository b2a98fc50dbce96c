"""The operators' views: each parses strictly, calls one function, and responds."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.parsers import JSONParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ..conf import get_settings
from ..exceptions import BadRequest, PermissionRefused
from ..models import SagaBulk
from ..operators import notes, operations, preview, remedies
from ..operators.actor import Actor
from ..operators.audit import access_log
from ..operators.bulk import documents as bulk_documents
from ..operators.bulk import freezing
from ..operators.bulk.preconditions import EVERYTHING
from ..operators.preconditions import OPERATIONS_BY_CODE, Operation
from ..operators.queries.keyset import is_below
from ..operators.queries.listing import describe_sagas
from ..operators.queries.saga_filter import CRITERIA, SagaFilter, parse_filter
from ..operators.visibility import find_visibility
from . import documents, schema
from .entity_tags import make_entity_tag, matches_entity_tag
from .parsers import StrictJSONParser
from .problems import handle_exception
from .serializers import (
    MAX_NUMBER,
    SagaActionSerializer,
    SagaBulkDocumentSerializer,
    SagaBulkFreezeSerializer,
    SagaBulkItemPageSerializer,
    SagaBulkPageSerializer,
    SagaBulkStartSerializer,
    SagaBulkStopSerializer,
    SagaDocumentSerializer,
    SagaNotePageSerializer,
    SagaNoteSerializer,
    SagaNoteTextSerializer,
    SagaOperationResultSerializer,
    SagaPageSerializer,
    SagaPreviewSerializer,
    SagaRemedyListSerializer,
    SagaRemedyResultSerializer,
    SagaRemedySerializer,
)

VIEW_SAGA, VIEW_BULK = "view_saga", "view_sagabulk"
PLACES = frozenset({"cursor", "page_size"})  # where in a list, and how much of it
# Permissions are checked for every request: a cache must revalidate.
PRIVATE = {"Cache-Control": "private, no-cache"}


class OperatorView(APIView):
    """Base of all views: the methods of the contract only, and a view permission."""

    http_method_names = ("get", "head", "post")
    permission_classes = (IsAuthenticated,)
    throttle_scope = "sagas"
    view_permission = VIEW_SAGA
    parameters: frozenset[str] = frozenset()
    """The query parameters of GET; any other is an error."""

    def get_exception_handler(self) -> Callable[..., Any]:
        """Return the handler that knows the engine's errors."""
        return handle_exception

    def get_parsers(self) -> list[Any]:
        """Return the project's parsers, a strict one instead of the framework's own for JSON."""
        return [StrictJSONParser() if type(parser) is JSONParser else parser for parser in super().get_parsers()]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check credentials, throttles, the view permission and the names of the parameters."""
        super().initial(request, *args, **kwargs)
        if not hasattr(self, str(request.method).lower()):
            return  # the response is 405, whatever else is wrong with the request
        self.actor = Actor.of_user(request.user)
        if not request.user.is_active:
            raise PermissionRefused("The account is not active.")
        self.actor.require(self.view_permission)
        known = self.parameters if request.method in ("GET", "HEAD") else frozenset()
        for name in request.query_params:
            if name not in known:
                raise ParseError(f"Unknown parameter {name[:40]!r}.")
            if len(request.query_params.getlist(name)) != 1:
                raise ParseError(f"{name} must not be given more than once.")


class SagaListView(OperatorView):
    """Lists of sagas."""

    parameters = PLACES.union(CRITERIA)

    @extend_schema(
        operation_id="list_sagas",
        parameters=[*schema.FILTERS, schema.CURSOR, schema.SIZE],
        responses={200: SagaPageSerializer, **schema.list_problems()},
    )
    def get(self, request: Request) -> Response:
        """List sagas, newest first."""
        size = _read_number(request, "page_size", lowest=1, highest=schema.MAX_PAGE_SIZE, default=schema.PAGE_SIZE)
        given = {name: str(value) for name, value in request.query_params.items() if name not in PLACES}
        try:
            rows = parse_filter(given).select()
        except BadRequest as error:
            raise ParseError(str(error)) from error
        page, following = _read_page(request, rows, "created_at", size)
        listed = describe_sagas(page)
        visibility = find_visibility(self.actor)
        if any(saga.last_error for saga in listed):
            asked = ", ".join(f"{name}={value}" for name, value in request.query_params.items())
            visibility = access_log.log_visible(visibility, self.actor.name, access_log.What.LIST, detail=asked)
        found = [saga.as_dict(with_errors=visibility.has_errors) for saga in listed]
        return Response({"next": following, "results": found}, headers=PRIVATE)


class SagaView(OperatorView):
    """One saga."""

    @extend_schema(
        operation_id="get_saga",
        parameters=[schema.IF_NONE_MATCH, schema.ETAG],
        responses={200: SagaDocumentSerializer, 304: schema.NOT_MODIFIED, **schema.list_problems()},
    )
    def get(self, request: Request, saga_id: UUID) -> Response:
        """Show a saga, its steps, and the operations that this account may perform on it."""
        visibility = access_log.log_visible(
            find_visibility(self.actor), self.actor.name, access_log.What.API, saga_id=saga_id
        )
        document = documents.describe_whole(saga_id, actor=self.actor, with_errors=visibility.has_errors)
        tag = make_entity_tag(document)
        headers = {"ETag": tag, **PRIVATE}
        if matches_entity_tag(request.headers.get("If-None-Match"), tag):
            return Response(status=304, headers=headers)
        return Response(document, headers=headers)


class SagaActionView(OperatorView):
    """Operations, previewed or performed."""

    parameters = frozenset({"step"})

    @extend_schema(
        operation_id="preview_saga_operation",
        parameters=[schema.ACTION, schema.STEP],
        responses={200: SagaPreviewSerializer, **schema.list_problems(422)},
    )
    def get(self, request: Request, saga_id: UUID, action: str) -> Response:
        """Preview an operation: show what it would do now, and change nothing."""
        step = request.query_params.get("step")
        if step is not None and (not 1 <= len(step) <= 60 or "\x00" in step):
            raise ParseError("step must have 1 to 60 characters, and no NUL.")
        plan = preview.preview_operation(find_operation(action), saga_id, step=step, actor=self.actor)
        document = plan.as_dict()
        known = SagaPreviewSerializer().fields
        return Response({name: document[name] for name in map(str, known)}, headers=PRIVATE)

    @extend_schema(
        operation_id="do_saga_action",
        parameters=[schema.ACTION],
        request=SagaActionSerializer,
        responses={200: SagaOperationResultSerializer, **schema.POSTED},
    )
    def post(self, request: Request, saga_id: UUID, action: str) -> Response:
        """Perform an operation, once. `step` for skip, marks, and a retry of one step; `evidence` for marks."""
        operation = find_operation(action)
        arguments = _read_body(SagaActionSerializer, request)
        _require_arguments(operation, arguments)
        done = operations.perform_operation(operation, saga_id, actor=self.actor, **arguments)
        return Response(done.as_dict(), headers=PRIVATE)


class SagaNotesView(OperatorView):
    """Notes on one saga."""

    parameters = frozenset({"before", "page_size"})

    @extend_schema(
        operation_id="list_saga_notes",
        parameters=[schema.BEFORE, schema.SIZE],
        responses={200: SagaNotePageSerializer, **schema.list_problems()},
    )
    def get(self, request: Request, saga_id: UUID) -> Response:
        """List the notes on a saga, newest first."""
        size = _read_number(request, "page_size", lowest=1, highest=schema.MAX_PAGE_SIZE, default=schema.PAGE_SIZE)
        before = _read_number(request, "before", lowest=1, highest=MAX_NUMBER, default=MAX_NUMBER)
        notes.require_saga(saga_id)
        page = notes.read_notes(saga_id, newest=size + 1, before=before)
        following = None
        if len(page) > size:
            following = f"{request.path}?before={page[size - 1].number}&page_size={size}"
        return Response({"next": following, "results": [note.as_dict() for note in page[:size]]}, headers=PRIVATE)

    @extend_schema(
        operation_id="add_saga_note",
        request=SagaNoteTextSerializer,
        responses={200: SagaNoteSerializer, 201: SagaNoteSerializer, **schema.POSTED},
    )
    def post(self, request: Request, saga_id: UUID) -> Response:
        """Write a note on a saga, open or closed; nothing else of it changes. 200: it had been written before."""
        note = notes.add_note(saga_id, actor=self.actor, **_read_body(SagaNoteTextSerializer, request))
        return Response(note.as_dict(), status=200 if note.is_repeat else 201, headers=PRIVATE)


class SagaRemedyView(OperatorView):
    """Remedies of one saga."""

    @extend_schema(
        operation_id="list_saga_remedies",
        responses={200: SagaRemedyListSerializer, **schema.list_problems()},
    )
    def get(self, request: Request, saga_id: UUID) -> Response:
        """List the look-ups and repairs that participants offer for the saga's stuck steps now."""
        offered = remedies.list_remedies(saga_id, actor=self.actor)
        return Response({"results": [found.as_dict() for found in offered]}, headers=PRIVATE)

    @extend_schema(
        operation_id="run_saga_remedy",
        request=SagaRemedySerializer,
        responses={200: SagaRemedyResultSerializer, **schema.list_problems(409, 413, 415, 422, 502)},
    )
    def post(self, request: Request, saga_id: UUID) -> Response:
        """Run a remedy. `step` where it is offered for several steps."""
        arguments = _read_body(SagaRemedySerializer, request)
        found = remedies.run_remedy(saga_id, arguments.pop("name"), actor=self.actor, **arguments)
        return Response(found.as_dict(), headers=PRIVATE)


class SagaBulkListView(OperatorView):
    """Lists of bulks, and frozen sets of sagas."""

    view_permission = VIEW_BULK
    parameters = PLACES

    @extend_schema(
        operation_id="list_saga_bulks",
        parameters=[schema.CURSOR, schema.SIZE],
        responses={200: SagaBulkPageSerializer, **schema.list_problems()},
    )
    def get(self, request: Request) -> Response:
        """List bulks, including unconfirmed sets, the most recently frozen first."""
        size = _read_number(request, "page_size", lowest=1, highest=schema.MAX_PAGE_SIZE, default=schema.PAGE_SIZE)
        rows = SagaBulk.objects.using(get_settings().database).order_by("-frozen_at", "-pk")
        page, following = _read_page(request, rows, "frozen_at", size)
        results = [bulk_documents.describe_listed_bulk(found) for found in page]
        return Response({"next": following, "results": results}, headers=PRIVATE)

    @extend_schema(
        operation_id="freeze_saga_bulk",
        parameters=[schema.LOCATION],
        request=SagaBulkFreezeSerializer,
        responses={201: SagaBulkDocumentSerializer, **schema.POSTED},
    )
    def post(self, request: Request) -> Response:
        """Freeze a set of sagas for one operation. Nothing is done before the set is confirmed."""
        body = _read_body(SagaBulkFreezeSerializer, request)
        frozen = _freeze(Operation(body["operation"]), body, self.actor)
        url = reverse("sagas-api:bulk", args=[frozen.pk])
        return Response(bulk_documents.describe_bulk(frozen), status=201, headers={"Location": url, **PRIVATE})


class SagaBulkView(OperatorView):
    """One bulk."""

    view_permission = VIEW_BULK

    @extend_schema(operation_id="get_saga_bulk", responses={200: SagaBulkDocumentSerializer, **schema.list_problems()})
    def get(self, request: Request, bulk_id: UUID) -> Response:
        """Show a bulk and its progress."""
        return Response(bulk_documents.describe_bulk(freezing.find_bulk(bulk_id)), headers=PRIVATE)


class SagaBulkResultsView(OperatorView):
    """The results of a bulk, one for each saga."""

    view_permission = VIEW_BULK
    parameters = frozenset({"after", "page_size"})

    @extend_schema(
        operation_id="list_saga_bulk_results",
        parameters=[schema.AFTER, schema.SIZE],
        responses={200: SagaBulkItemPageSerializer, **schema.list_problems()},
    )
    def get(self, request: Request, bulk_id: UUID) -> Response:
        """List the sagas of a bulk in the order of the set, with their results."""
        size = _read_number(request, "page_size", lowest=1, highest=schema.MAX_PAGE_SIZE, default=schema.PAGE_SIZE)
        after = _read_number(request, "after", lowest=0, highest=MAX_NUMBER, default=0)
        items = freezing.select_items(freezing.find_bulk(bulk_id).pk).filter(position__gt=after).order_by("position")
        page = list(items[: size + 1])
        following = None
        if len(page) > size:
            following = f"{request.path}?after={page[size - 1].position}&page_size={size}"
        results = [bulk_documents.describe_item(item) for item in page[:size]]
        return Response({"next": following, "results": results}, headers=PRIVATE)


class SagaBulkStartView(OperatorView):
    """Confirmations of sets."""

    view_permission = VIEW_BULK

    @extend_schema(
        operation_id="start_saga_bulk",
        request=SagaBulkStartSerializer,
        responses={200: SagaBulkDocumentSerializer, **schema.POSTED},
    )
    def post(self, request: Request, bulk_id: UUID) -> Response:
        """Confirm a set and start the bulk; workers perform it. A repeat changes nothing."""
        body = _read_body(SagaBulkStartSerializer, request)
        found, _ = freezing.start_bulk(bulk_id, actor=self.actor, **body)
        return Response(bulk_documents.describe_bulk(found), headers=PRIVATE)


class SagaBulkStopView(OperatorView):
    """Requests to stop bulks."""

    view_permission = VIEW_BULK

    @extend_schema(
        operation_id="stop_saga_bulk",
        request=SagaBulkStopSerializer,
        responses={200: SagaBulkDocumentSerializer, **schema.POSTED},
    )
    def post(self, request: Request, bulk_id: UUID) -> Response:
        """Stop a bulk: the remaining sagas stay unchanged. A repeat changes nothing."""
        body = _read_body(SagaBulkStopSerializer, request)
        found, _ = freezing.stop_bulk(bulk_id, actor=self.actor, **body)
        return Response(bulk_documents.describe_bulk(found), headers=PRIVATE)


def find_operation(action: str) -> Operation:
    """Return the operation of an address.

    Raises: NotFound.
    """
    if action not in OPERATIONS_BY_CODE:
        raise NotFound(f"Unknown operation {action[:40]!r}.")
    return OPERATIONS_BY_CODE[action]


def _read_body(kind: Any, request: Request) -> dict[str, Any]:
    serializer = kind(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _require_arguments(operation: Operation, arguments: dict[str, Any]) -> None:
    """Check that the operation uses every given argument and has those it needs.

    Raises: BadRequest.
    """
    takes = {"reason", "revision", *_OPTIONAL.get(operation, ())}
    if extra := sorted(set(arguments) - takes):
        raise BadRequest(f"{operation.value} does not accept {extra[0]}.")
    missing = {"step", "evidence"} & set(_OPTIONAL.get(operation, ())) - set(arguments)
    if missing and operation is not Operation.RETRY:
        raise BadRequest(f"{operation.value} requires {min(missing, key=('step', 'evidence').index)}.")


_OPTIONAL: dict[Operation, tuple[str, ...]] = {
    Operation.RETRY: ("step",),
    Operation.SKIP: ("step", "result"),
    Operation.MARK_SUCCEEDED: ("step", "evidence", "result"),
    Operation.MARK_REFUSED: ("step", "evidence"),
    Operation.MARK_COMPENSATED: ("step", "evidence"),
}


def _freeze(operation: Operation, body: dict[str, Any], actor: Actor) -> SagaBulk:
    ways = [name for name in ("sagas", "filter", "everything") if name in body]
    if len(ways) != 1:
        raise BadRequest("Give exactly one of sagas, filter and everything.")
    if "sagas" in body:
        return freezing.freeze_selected(operation, body["sagas"], actor=actor)
    wanted = parse_filter(body["filter"]) if "filter" in body else SagaFilter()
    return freezing.freeze_matching(
        operation,
        wanted.select(),
        actor=actor,
        filter=wanted.as_dict(),
        words=wanted.describe() or EVERYTHING,
        everything="everything" in body,
    )


def _read_page(request: Request, rows: Any, field: str, size: int) -> tuple[list[Any], str | None]:
    """Return a page of rows, the greatest of a field first, and the address of the next one.

    Raises: ParseError.
    """
    if "cursor" in request.query_params:
        place = documents.read_cursor(request.query_params["cursor"])
        if place is None:
            raise ParseError("The cursor is invalid; start again without it.")
        rows = rows.filter(is_below(field, *place))
    page = list(rows[: size + 1])
    if len(page) <= size:
        return page, None
    last = page[size - 1]
    query = request.query_params.copy()
    query["cursor"] = documents.write_cursor(getattr(last, field), last.pk)
    return page[:size], f"{request.path}?{query.urlencode()}"


def _read_number(request: Request, name: str, *, lowest: int, highest: int, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and lowest <= int(text) <= highest):
        raise ParseError(f"{name} must be a whole number from {lowest} to {highest}.")
    return int(text)
