"""Lead from the list of sagas to a bulk: by the rows that are ticked, or by everything that matches its filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, ActionForm
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from ...exceptions import OperationRefused, PermissionRefused
from ...operators.actor import Actor
from ...operators.bulk import preconditions, selection
from ...operators.preconditions import Operation
from ...operators.preview import LABELS
from ..saga_list.strict_query import filter_query, find_obstacle
from ..ui.addresses import find_url, site_of
from ..ui.console_admin import ConsoleAdmin

Action = tuple[Callable[..., None], str, str]


class TickedForm(ActionForm):
    """Choice of an action for the ticked rows.

    django-unfold shows its button only once its own attribute on the choice says that an action is chosen; no other
    admin knows the attribute.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["action"].widget.attrs["x-model"] = "action"


def list_actions(request: HttpRequest) -> dict[str, Action]:
    """Return the actions that a person may do to the ticked rows, as the admin wants them.

    Shape: ``{operation: (function, operation, label)}``.
    """
    return {
        operation.value: (_never, operation.value, f"{LABELS[operation]}, all that are ticked")
        for operation in list_operations(request)
    }


def list_operations(request: HttpRequest) -> list[Operation]:
    """Return the actions that a person may do to many sagas."""
    actor = Actor.of_user(request.user)
    return [operation for operation in preconditions.BULK_OPERATIONS if not preconditions.find_lapse(actor, operation)]


def answer_selection(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse | None:
    """Freeze the ticked sagas and lead to the page where they are confirmed.

    Returns: None to show the list again, with a message.
    Raises: PermissionDenied.
    """
    operation, site = _read_operation(request), model_admin.admin_site.name
    if operation is None:
        model_admin.message_user(request, "Choose an action for the ticked sagas.", messages.WARNING)
        return None
    if request.POST.get("select_across", "0") != "0":
        # The browser ticked more than it shows: that is a filter, and is confirmed as one.
        if obstacle := find_obstacle(request):
            model_admin.message_user(request, f"{obstacle} Nothing was done.", messages.ERROR)
            return None
        query = filter_query(request)
        return HttpResponseRedirect(f"{find_url(site, 'sagas_sagabulk_new')}?{query}")
    ids = _read_ids(request)
    if ids is None:
        model_admin.message_user(request, "What is ticked is no saga. Nothing was done.", messages.ERROR)
        return None
    try:
        frozen = selection.freeze_selected(operation, ids, actor=Actor.of_user(request.user))
    except PermissionRefused as error:
        raise PermissionDenied(str(error)) from error
    except OperationRefused as error:
        model_admin.message_user(request, f"{error} Nothing was done.", messages.ERROR)
        return None
    return HttpResponseRedirect(find_url(site, "sagas_sagabulk_change", frozen.pk))


def link_to_bulks(request: HttpRequest) -> dict[str, str]:
    """Return what the list needs to lead to bulks.

    Shape: ``{"bulk_url", "bulks_url", "bulk_obstacle"}``; the first one empty for who may not act, and where the
    obstacle says why nobody can; nothing where the admin site has no bulks.
    """
    site = site_of(request)
    new, listed = find_url(site, "sagas_sagabulk_new"), find_url(site, "sagas_sagabulk_changelist")
    if not (new and listed):
        return {}
    may_act = bool(list_operations(request))
    obstacle = find_obstacle(request) if may_act else ""
    return {
        "bulk_url": f"{new}?{filter_query(request)}" if may_act and not obstacle else "",
        "bulk_obstacle": obstacle,
        "bulks_url": listed if request.user.has_perm("sagas.view_sagabulk") else "",
    }


def _read_operation(request: HttpRequest) -> Operation | None:
    """Return the action of the bar whose button was pressed, or None when it is none that may be done."""
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
    """Stand where the admin wants a function; ``answer_selection`` acts."""
