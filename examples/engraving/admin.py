"""Admin of the workshop's jobs: the permission to view sagas shows them, the one to retry sagas fixes them."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from sagas.admin import links
from sagas.admin.links import Link
from sagas.admin.ui.addresses import find_saga_url
from sagas.models import Saga

from .models import Job
from .services import fix
from .troubles import Trouble


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):
    list_display = ("number", "text", "status", "trouble", "created_at", "saga_page")
    search_fields = ("number__startswith",)
    search_help_text = "Beginning of a job's number"
    ordering = ("-created_at",)
    fields = ("number", "text", "status", "trouble", "saga_page", "created_at")
    actions = ("fix_jobs",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("sagas.view_saga")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_fix_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sagas.retry_saga")

    @admin.action(description="Fix the problem", permissions=("fix",))
    def fix_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        troubled = list(queryset.exclude(trouble=Trouble.NONE))
        for job in troubled:
            fix(job)
            self.log_change(request, job, f"Fixed: {job.get_trouble_display()}.")
        self.message_user(
            request,
            f"Fixed: {', '.join(job.number for job in troubled)}. Retry the steps that wait for them."
            if troubled
            else "None of the selected jobs has a problem; nothing was changed.",
            messages.SUCCESS if troubled else messages.WARNING,
        )

    @admin.display(description="saga")
    def saga_page(self, job: Job) -> str:
        """Return a link to the saga's page."""
        url = find_saga_url(self.admin_site.name, job.saga_id)
        return format_html('<a href="{}">{}</a>', url, job.saga_id) if url else str(job.saga_id)


def link_job(saga: Saga, number: str) -> Iterator[Link]:
    """Yield the link from a saga to its job."""
    yield Link(label=f"Job {number}", page="workshop_job_changelist", query={"q": number})


links.register("job", link_job)
