"""Ways from the list of sagas to a bulk: the selected rows, or everything that matches the filter."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, ActionForm
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from ...exceptions import OperationRefused, PermissionRefused
from ...operators.actor import Actor
from ...operators.bulk import freezing, preconditions
from ...operators.preconditions import Operation
from ...operators.preview import LABELS
from ..saga_list.strict_query import filter_query, find_obstacle
from ..ui.addresses import find_url, site_of
from ..ui.console_admin import ConsoleAdmin

Action = tuple[Callable[..., None], str, str]


class SelectionForm(ActionForm):
    """Form that chooses an operation for the selected rows.

    django-unfold shows its button only when its own attribute on the field reports a choice; other admins ignore the
    attribute.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["action"].widget.attrs["x-model"] = "action"


def list_actions(request: HttpRequest) -> dict[str, Action]:
    """Return the operations that the user may perform on the selected rows, as the admin expects them.

    Shape: ``{operation: (function, operation, label)}``.
    """
    return {
        operation.value: (_never, operation.value, f"{LABELS[operation]}, selected sagas")
        for operation in list_operations(request)
    }


def list_operations(request: HttpRequest) -> list[Operation]:
    """Return the operations that the user may perform in bulk."""
    actor = Actor.of_user(request.user)
    return [operation for operation in preconditions.BULK_OPERATIONS if not preconditions.find_lapse(actor, operation)]


def answer_selection(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse | None:
    """Freeze the selected sagas and redirect to the page that confirms them.

    Returns: None to show the list again, with a message.
    Raises: PermissionDenied.
    """
    operation, site = _read_operation(request), model_admin.admin_site.name
    if operation is None:
        model_admin.message_user(request, "Choose an operation for the selected sagas.", messages.WARNING)
        return None
    if request.POST.get("select_across", "0") != "0":
        # All pages are selected, more than the browser shows: that is a filter, and is confirmed as one.
        if obstacle := find_obstacle(request):
            model_admin.message_user(request, f"{obstacle} Nothing was done.", messages.ERROR)
            return None
        query = filter_query(request)
        return HttpResponseRedirect(f"{find_url(site, 'sagas_sagabulk_new')}?{query}")
    ids = _read_ids(request)
    if ids is None:
        model_admin.message_user(request, "The selection has an invalid id. Nothing was done.", messages.ERROR)
        return None
    try:
        frozen = freezing.freeze_selected(operation, ids, actor=Actor.of_user(request.user))
    except PermissionRefused as error:
        raise PermissionDenied(str(error)) from error
    except OperationRefused as error:
        model_admin.message_user(request, f"{error} Nothing was done.", messages.ERROR)
        return None
    return HttpResponseRedirect(find_url(site, "sagas_sagabulk_change", frozen.pk))


def link_to_bulks(request: HttpRequest) -> dict[str, str]:
    """Return the links from the list to bulks.

    Shape: ``{"bulk_url", "bulk_label", "bulks_url", "bulk_obstacle"}``. ``bulk_url`` is empty without permission and
    when there is an obstacle; ``bulks_url`` is empty without permission. An empty dict where the site has no bulks.
    """
    site = site_of(request)
    new, listed = find_url(site, "sagas_sagabulk_new"), find_url(site, "sagas_sagabulk_changelist")
    if not (new and listed):
        return {}
    may_act = bool(list_operations(request))
    obstacle = find_obstacle(request) if may_act else ""
    return {
        "bulk_url": f"{new}?{filter_query(request)}" if may_act and not obstacle else "",
        "bulk_label": "Operate on all that match …",
        "bulk_obstacle": obstacle,
        "bulks_url": listed if request.user.has_perm("sagas.view_sagabulk") else "",
    }


def _read_operation(request: HttpRequest) -> Operation | None:
    """Return the operation chosen in the bar whose button was pressed, or None when it is not an allowed one."""
    allowed = {operation.value: operation for operation in list_operations(request)}
    chosen = request.POST.getlist("action")
    index = request.POST.get("index", "0")
    if not (index.isascii() and index.isdigit() and len(index) < 3 and int(index) < len(chosen)):
        return None
    return allowed.get(chosen[int(index)])


def _read_ids(request: HttpRequest) -> list[UUID] | None:
    try:
        return [UUID(text) for text in request.POST.getlist(ACTION_CHECKBOX_NAME)]
    except ValueError:
        return None


def _never(*_: Any) -> None:
    """Fill the place of the function that the admin expects; ``answer_selection`` does the work."""
