"""Pages of saved views: their list, and forms that save, rename, share and delete one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from ... import clock
from ...exceptions import BadRequest, PermissionRefused, ViewNotFound
from ...models.view import MAX_NAME_CHARS
from ...operators import saved_views
from ...operators.actor import Actor
from ...operators.saved_views import SHARE, SavedView
from ..saga_list.strict_query import read_filter
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from ..ui.formatting import Moment, show_moment
from ..ui.saved_views import list_query, list_url
from ..ui.view_only import engine_database

LIST, FORM = "admin/sagas/views/list.html", "admin/sagas/views/form.html"
Answer = Callable[..., HttpResponse]


class ViewForm(forms.Form):
    """Form with the name of a view and, with the permission to share, whether all users see it."""

    name = forms.CharField(
        label="Name", max_length=MAX_NAME_CHARS, help_text=f"1 to {MAX_NAME_CHARS} visible characters.",
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )  # fmt: skip
    is_shared = forms.BooleanField(
        label="Share it", required=False, help_text="Every user who may view sagas sees a shared view."
    )

    def __init__(self, *args: Any, may_share: bool, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        if not may_share:
            # Not shown, but read: a forged choice is refused instead of ignored.
            self.fields["is_shared"].widget = forms.HiddenInput()


@dataclass(frozen=True, kw_only=True)
class ViewRow:
    """Row of one view."""

    name: str
    words: str
    """Its filter in words; empty when it is not valid any more."""
    problem: str
    """What is wrong with the filter; empty when nothing is."""
    owner: str
    is_shared: bool
    saved: Moment
    url: str
    """URL of the list under it; empty when the filter is not valid."""
    change_url: str
    """URL that renames it; empty where the user may not."""
    delete_url: str
    """URL that deletes it; empty where the user may not."""


def _guarded(*methods: str) -> Callable[[Answer], Answer]:
    """Check the view permission and the method, and answer what the functions refuse."""

    def decorate(answer: Answer) -> Answer:
        @wraps(answer)
        def view(model_admin: ConsoleAdmin, request: HttpRequest, **values: Any) -> HttpResponse:
            if not model_admin.has_view_permission(request):
                raise PermissionDenied
            if request.method not in methods:
                return HttpResponseNotAllowed(methods)
            try:
                return answer(model_admin, request, **values)
            except PermissionRefused as error:
                return model_admin.refuse_query(request, f"{error} Nothing was changed.", status=403)
            except ViewNotFound as error:
                return model_admin.refuse_query(request, str(error), status=404)

        return view

    return decorate


@_guarded("GET", "HEAD")
def list_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show the user's own views and the shared ones."""
    actor, site = Actor.of_user(request.user), model_admin.admin_site.name
    now = clock.read_now(engine_database())
    rows = [_describe(saved, actor, site, now) for saved in saved_views.list_saved(actor)]
    return model_admin.render(request, LIST, {"title": "Saved views", "rows": rows})


@_guarded("GET", "HEAD", "POST")
def save_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Ask for the name of a view with the filters of the URL, or save it."""
    actor = Actor.of_user(request.user)
    try:
        wanted = read_filter(request.GET)
        saved_views.write_query(wanted)
    except BadRequest as error:
        return model_admin.refuse_query(request, f"{error} Nothing was saved.")
    form = ViewForm(request.POST if request.method == "POST" else None, may_share=actor.may(SHARE))
    if form.is_valid():
        try:
            saved = saved_views.save_view(wanted, actor=actor, **form.cleaned_data)
        except BadRequest as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"The view {saved.row} is saved.")
            return HttpResponseRedirect(list_url(model_admin.admin_site.name, **list_query(wanted)))
    context = {"title": "Save this view", "words": wanted.describe(), "button": "Save the view"}
    return _ask(model_admin, request, form, context, back=list_url(model_admin.admin_site.name, **list_query(wanted)))


@_guarded("GET", "HEAD", "POST")
def change_view(model_admin: ConsoleAdmin, request: HttpRequest, *, view_id: int) -> HttpResponse:
    """Ask for the new name of a view and whether it is shared, or change it."""
    actor = Actor.of_user(request.user)
    saved = saved_views.find_saved(view_id, actor=actor)
    if saved.row.is_shared:
        actor.require(SHARE)
    views_url = find_url(model_admin.admin_site.name, "sagas_saga_views")
    stored = {"name": saved.row.name, "is_shared": saved.row.is_shared}
    data = request.POST if request.method == "POST" else None
    form = ViewForm(data, initial=stored, may_share=actor.may(SHARE))
    if form.is_valid():
        try:
            saved = saved_views.change_view(view_id, actor=actor, **form.cleaned_data)
        except BadRequest as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"The view {saved.row} is changed.")
            return HttpResponseRedirect(views_url)
    words = saved.problem or (saved.filter.describe() if saved.filter else "")
    return _ask(
        model_admin, request, form, {"title": "Change the view", "words": words, "button": "Change the view"},
        back=views_url,
    )  # fmt: skip


@_guarded("POST")
def delete_view(model_admin: ConsoleAdmin, request: HttpRequest, *, view_id: int) -> HttpResponse:
    """Delete a view of the name that the form shows."""
    name = request.POST.get("name", "")
    try:
        saved_views.delete_view(view_id, actor=Actor.of_user(request.user), name=name)
    except BadRequest as error:
        return model_admin.refuse_query(request, f"{error} Nothing was deleted.")
    messages.success(request, f"The view {name} is deleted.")
    return HttpResponseRedirect(find_url(model_admin.admin_site.name, "sagas_saga_views"))


def _ask(
    model_admin: ConsoleAdmin, request: HttpRequest, form: ViewForm, context: dict[str, Any], *, back: str
) -> HttpResponse:
    views_url = find_url(model_admin.admin_site.name, "sagas_saga_views")
    status = 400 if form.errors else 200
    return model_admin.render(
        request, FORM, {"form": form, "back_url": back, "views_url": views_url, **context}, status
    )


def _describe(saved: SavedView, actor: Actor, site: str, now: Any) -> ViewRow:
    row, may_change = saved.row, saved_views.may_change(saved, actor)
    return ViewRow(
        name=row.name,
        words=saved.filter.describe() if saved.filter else "",
        problem=saved.problem,
        owner=row.owner,
        is_shared=row.is_shared,
        saved=show_moment(row.created_at, now),
        url=list_url(site, **list_query(saved.filter)) if saved.filter else "",
        change_url=find_url(site, "sagas_saga_view_change", row.pk) if may_change else "",
        delete_url=find_url(site, "sagas_saga_view_delete", row.pk) if may_change else "",
    )
