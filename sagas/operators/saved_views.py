"""Views that users save: a filter of the list of sagas by name, for themselves or shared.

The filter is stored as ``SagaFilter`` writes it and parsed again each time it is read: one that is no longer valid is
reported and never taken for "everything". A shared view may be changed by all who may share, not by its owner alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import normalize
from urllib.parse import parse_qsl, urlencode

from django.db import IntegrityError
from django.db.models import Q, QuerySet

from .. import clock
from ..choreography.definition import list_known
from ..conf import get_settings
from ..core.visible import has_visible, is_hidden
from ..exceptions import BadRequest, ViewNotFound
from ..models import SagaView
from ..models.view import MAX_NAME_CHARS
from ..transactions import own_transaction
from .actor import Actor
from .queries.saga_filter import SagaFilter, parse_filter

VIEW, SHARE = "view_saga", "share_view"
MAX_OWN, MAX_SHARED = 50, 100


@dataclass(frozen=True, kw_only=True)
class SavedView:
    """A saved view, with what its filter means now."""

    row: SagaView
    """The stored view."""
    filter: SagaFilter | None
    """Its filter; None when it is no longer valid."""
    problem: str
    """What is wrong with the filter; empty when nothing is."""


def list_saved(actor: Actor) -> list[SavedView]:
    """Return a user's own views and then the shared ones, each by name, in one query.

    Raises: PermissionRefused.
    """
    actor.require(VIEW)
    return interpret(_select_visible(actor).order_by("is_shared", "name", "pk"))


def interpret(rows: Iterable[SagaView]) -> list[SavedView]:
    """Return stored views with what their filters mean now."""
    return [_read(row) for row in rows]


def find_saved(view_id: int, *, actor: Actor) -> SavedView:
    """Return a view that a user may see.

    Raises: PermissionRefused; ViewNotFound, also for the own view of another user.
    """
    actor.require(VIEW)
    return _read(_find(_select_visible(actor), view_id))


def may_change(view: SavedView, actor: Actor) -> bool:
    """Return whether a user who may see a view may also rename and delete it."""
    return actor.may(SHARE) or not view.row.is_shared


def save_view(wanted: SagaFilter, *, actor: Actor, name: str, is_shared: bool) -> SavedView:
    """Save a filter by name; a repeat saves nothing.

    Raises: PermissionRefused; BadRequest for a name or filter that cannot be saved, a name in use, and too many views.
    Tx: opens its own. Locks: the views that count towards the limits.
    """
    actor.require(VIEW)
    checked, query = check_name(name), write_query(wanted)
    owner_id = _owner_id(actor)
    if is_shared:
        actor.require(SHARE)
    row = SagaView(owner=actor.name, owner_id=owner_id, name=checked, query=query, is_shared=is_shared)
    with own_transaction(get_settings().database, joins=True):
        counted = _lock_counted(owner_id)
        if repeat := next((other for other in counted if _is_same(other, row)), None):
            return _read(repeat)
        _check_limits(counted, row)
        row.created_at = clock.read_now(get_settings().database)
        _store(row)
    return _read(row)


def change_view(view_id: int, *, actor: Actor, name: str, is_shared: bool) -> SavedView:
    """Rename a view, and share it or end that.

    Raises: PermissionRefused; ViewNotFound; BadRequest as ``save_view``.
    Tx: opens its own. Locks: the views that count towards the limits.
    """
    actor.require(VIEW)
    checked = check_name(name)
    with own_transaction(get_settings().database, joins=True):
        # All rows are locked in one order, so that two changes at once cannot wait for each other.
        counted = _lock_counted(_find(_select_visible(actor), view_id).owner_id)
        row = _lock_to_change(view_id, actor)
        if is_shared:
            actor.require(SHARE)
        row.name, row.is_shared = checked, is_shared
        _check_limits([other for other in counted if other.pk != row.pk], row)
        _store(row)
    return _read(row)


def delete_view(view_id: int, *, actor: Actor, name: str) -> None:
    """Delete a view. ``name``: as the user saw it, so that no renamed view is deleted by mistake.

    Raises: PermissionRefused; ViewNotFound; BadRequest when it has another name.
    Tx: opens its own. Locks: the view.
    """
    actor.require(VIEW)
    using = get_settings().database
    with own_transaction(using, joins=True):
        row = _lock_to_change(view_id, actor)
        if row.name != name:
            raise BadRequest(f"The view {view_id} is named {row.name!r} now; check it and decide again.")
        row.delete(using=using)


def check_name(name: str) -> str:
    """Return the name of a view in the form that is stored: composed characters, single blanks.

    Raises: BadRequest when it is empty, too long, or looks like another name or a secret.
    """
    checked = " ".join(normalize("NFC", name).split()) if isinstance(name, str) else ""
    if not has_visible(checked):
        raise BadRequest("The name needs at least 1 visible character.")
    if len(checked) > MAX_NAME_CHARS:
        raise BadRequest(f"The name must have at most {MAX_NAME_CHARS} characters; it has {len(checked)}.")
    if any(map(is_hidden, checked)):
        raise BadRequest("The name contains invisible characters, with which it could pass for another one.")
    _refuse_secrets(checked, "The name")
    return checked


def write_query(wanted: SagaFilter) -> str:
    """Return a filter as the text that is stored.

    Raises: BadRequest for a filter without criteria, and for one that contains what looks like a secret.
    """
    criteria = wanted.as_dict()
    if not criteria:
        raise BadRequest("The list has no filter that could be saved; order and page are not kept.")
    for name, value in criteria.items():
        _refuse_secrets(value, name)
    return urlencode(criteria)


def _read(row: SagaView) -> SavedView:
    try:
        wanted = parse_filter(dict(parse_qsl(row.query, keep_blank_values=True)))
    except BadRequest as error:
        return SavedView(row=row, filter=None, problem=str(error))
    if not wanted.as_dict():
        return SavedView(row=row, filter=None, problem="The filter is empty.")
    return SavedView(row=row, filter=wanted, problem=_find_gap(wanted))


def _find_gap(wanted: SagaFilter) -> str:
    """Return what the code no longer has; such a filter still finds older sagas."""
    name, _, version = wanted.definition.partition(":")
    known = [str(one.version) for one in list_known() if one.name == name]
    if not name or (known and (not version or version in known)):
        return ""
    return f"The code no longer has the definition {wanted.definition}."


def _select_visible(actor: Actor) -> QuerySet[SagaView]:
    rows = SagaView.objects.using(get_settings().database)
    return rows.filter(Q(owner_id=_owner_id(actor)) | Q(is_shared=True))


def _lock_to_change(view_id: int, actor: Actor) -> SagaView:
    """Lock a view that a user may see, and check that the user may change it.

    Raises: ViewNotFound; PermissionRefused.
    """
    row = _find(_select_visible(actor).select_for_update(), view_id)
    if row.is_shared:
        actor.require(SHARE)
    return row


def _find(rows: QuerySet[SagaView], view_id: int) -> SagaView:
    row = rows.filter(pk=view_id).first()
    if row is None:
        raise ViewNotFound(f"There is no saved view {view_id}, or it is another user's own.")
    return row


def _owner_id(actor: Actor) -> str:
    if actor.user is None:
        raise BadRequest("A saved view needs an account that owns it.")
    return str(actor.user.pk)


def _lock_counted(owner_id: str) -> list[SagaView]:
    """Lock and return the views of an owner and the shared ones, so that two saves at once cannot pass a limit."""
    rows = SagaView.objects.using(get_settings().database).filter(Q(owner_id=owner_id) | Q(is_shared=True))
    list(rows.select_for_update().order_by("pk").values_list("pk"))
    return list(rows)  # read only now: rows that were inserted during the wait count, too


def _is_same(one: SagaView, other: SagaView) -> bool:
    """Return whether two views are the same, but for their ids and times."""
    names = ("owner_id", "name", "query", "is_shared")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _check_limits(others: Iterable[SagaView], row: SagaView) -> None:
    others = list(others)
    own = sum(other.owner_id == row.owner_id for other in others)
    shared = sum(other.is_shared for other in others)
    if own >= MAX_OWN:
        raise BadRequest(f"{row.owner} has {own} saved views, the limit. Delete one first.")
    if row.is_shared and shared >= MAX_SHARED:
        raise BadRequest(f"There are {shared} shared views, the limit. Delete one first.")


def _store(row: SagaView) -> None:
    """Write a view.

    Raises: BadRequest when its name is in use.
    """
    using = get_settings().database
    try:
        with own_transaction(using, joins=True):
            row.save(using=using)
    except IntegrityError as error:
        raise BadRequest(f"A view named {row.name!r} exists already; choose another name.") from error


def _refuse_secrets(text: str, what: str) -> None:
    if get_settings().redactor.redact_text(text) != text:
        raise BadRequest(f"{what} contains what looks like a secret; nothing was saved.")
