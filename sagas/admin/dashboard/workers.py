"""Admins of the worker heartbeats and the participants' barriers."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from ... import clock
from ...conf import get_settings
from ...core.definition.context import step_key
from ...models import SagaBarrier, SagaStep, SagaWorker
from ...models.fields import database_now
from ...operators.actor import Actor
from ...operators.audit import access_log
from ...operators.presentation.badges import Badge, Tone
from ...operators.presentation.texts import set_apart
from ...operators.presentation.times import describe_distance
from ...operators.queries.saga_filter import refuse_value
from ...operators.visibility import find_visibility
from ...participants.routing import barrier_databases
from ..ui.paging import CappedPaginator
from ..ui.view_only import ViewOnlyAdmin, engine_database, moment_column, number_column, text_column

SEEN = Badge(word="active", icon="check", tone=Tone.GOOD)
GONE = Badge(word="not seen", icon="warning", tone=Tone.URGENT)


@admin.register(SagaWorker)
class SagaWorkerAdmin(ViewOnlyAdmin):
    """Admin of the processes that sweep."""

    list_display = ("worker", "badge", "seen", "serves", "release", "found", "started")
    list_display_links = None
    ordering = ("-last_sweep_at",)
    sortable_by = ()
    started, swept = moment_column("started_at", "Started"), moment_column("last_sweep_at", "Last sweep")
    process, found = number_column("pid", "Pid"), number_column("last_found", "Last found")
    worker, machine = text_column("name", "Name"), text_column("host", "Host")
    release = text_column("version", "Version")
    fields = readonly_fields = ("worker", "machine", "process", "serves", "release", "started", "swept", "found")
    show_full_result_count = False
    paginator = CappedPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[SagaWorker]:
        """Return the heartbeats with the database's time as ``db_now``."""
        now = database_now()
        workers: QuerySet[SagaWorker] = super().get_queryset(request)
        return workers.annotate(db_now=now)

    @admin.display(description="State")
    def badge(self, worker: SagaWorker) -> SafeString:
        """Show whether the worker swept lately."""
        age = clock.shifted(worker.db_now) - worker.last_sweep_at  # type: ignore[attr-defined]
        badge = SEEN if age <= get_settings().worker_seen_within else GONE
        return render_to_string("admin/sagas/includes/badge.html", {"badge": badge})

    @admin.display(description="Last sweep")
    def seen(self, worker: SagaWorker) -> str:
        """Show the distance to its last sweep."""
        return describe_distance(worker.last_sweep_at, clock.shifted(worker.db_now))  # type: ignore[attr-defined]

    @admin.display(description="Queues")
    def serves(self, worker: SagaWorker) -> str:
        """Show its queues."""
        return (
            set_apart(", ".join(map(str, worker.queues)))
            if worker.queues
            else "none: it only sends wake-ups, or has ended"
        )


class DatabaseFilter(admin.SimpleListFilter):
    """Filter by database: every participant database has its own barrier table."""

    title = "database"
    parameter_name = "database"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the databases that hold a barrier table."""
        return [(alias, alias) for alias in barrier_databases()]

    def has_output(self) -> bool:
        """Return whether there are several databases, or a value to check."""
        return len(self.lookup_choices) > 1 or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[SagaBarrier]) -> QuerySet[SagaBarrier]:
        """Return the rows of the chosen database."""
        value = self.value()
        if value is None:
            return queryset
        if value not in dict(self.lookup_choices):
            form = f"one of {', '.join(alias for alias, _ in self.lookup_choices)}"
            raise IncorrectLookupParameters(refuse_value(str(self.parameter_name), value, form))
        return queryset.using(value)


@admin.register(SagaBarrier)
class SagaBarrierAdmin(ViewOnlyAdmin):
    """Admin of the participants' barrier rows."""

    list_display = ("step", "direction", "round", "state", "created", "finished")
    list_display_links = None
    created, finished = moment_column("created_at", "Created"), moment_column("finished_at", "Finished")
    step, round = text_column("key", "Key"), number_column("epoch", "Epoch")
    readonly_fields = ("step", "round", "created", "finished")
    list_filter = (DatabaseFilter,)
    ordering = ("-created_at", "-id")
    sortable_by = ()
    search_fields = ("key",)  # shows the search field; get_search_results does the work
    search_help_text = "A saga id, or a step key: the saga id, a colon, the step"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the fields that the user may see: a stored result is a payload."""
        shown = ("step", "direction", "round", "state", "created", "finished")
        return (*shown, "result") if _may_see_results(request) else shown

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one row; a stored result is a payload, so the access is logged first."""
        row = self.get_object(request, unquote(object_id)) if _may_see_results(request) else None
        if row is not None and row.result is not None:
            saga_id = find_saga_id(row.key)
            actor = request.user.get_username()
            if not access_log.log_access(actor, access_log.What.BARRIER, saga_id=saga_id, detail=row.key):
                raise PermissionDenied
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the filters and nothing else."""
        return lookup == DatabaseFilter.parameter_name

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SagaBarrier], search_term: str
    ) -> tuple[QuerySet[SagaBarrier], bool]:
        """Search by whole key: the keys of every step of a saga, or the given one."""
        wanted = search_term.strip()
        return (queryset.filter(key__in=list_step_keys(wanted)) if wanted else queryset), False


def find_saga_id(key: str) -> UUID | None:
    """Return the saga id of a step key, or None when the key has another form."""
    try:
        return UUID(key.partition(":")[0])
    except ValueError:
        return None


def list_step_keys(text: str) -> list[str]:
    """Return the step keys of a saga id; any other text counts as a step key."""
    try:
        saga_id = UUID(text)
    except ValueError:
        return [text]
    names = SagaStep.objects.using(engine_database()).filter(saga_id=saga_id).values_list("name", flat=True)
    return [step_key(saga_id, name) for name in names]


def _may_see_results(request: HttpRequest) -> bool:
    return find_visibility(Actor.of_user(request.user)).has_payloads
