"""Saved views: names, limits, permissions, and filters that are no longer valid."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from sagas import Compensatable, nothing_to_undo
from sagas.core.definition import registry
from sagas.exceptions import BadRequest, PermissionRefused, ViewNotFound
from sagas.models import SagaView
from sagas.operators.actor import Actor
from sagas.operators.queries.saga_filter import SagaFilter
from sagas.operators.saved_views import MAX_OWN, MAX_SHARED, change_view, delete_view, find_saved, list_saved, save_view
from sagas.retention.views import count_ownerless_views, delete_ownerless_views

from .side_by_side import run_side_by_side
from .world import define

pytestmark = pytest.mark.django_db(databases="__all__")

OPEN = SagaFilter(closed="no", search="ORD-1 & more")


def make_actor(name: str, group: str = "viewers") -> Actor:
    user = User.objects.create(username=name)
    if group:
        user.groups.add(Group.objects.get(name=f"Saga {group}"))
    return Actor.of_user(user)


def stored() -> list[tuple[str, str, bool]]:
    return list(SagaView.objects.order_by("pk").values_list("owner", "name", "is_shared"))


def fill(actor: Actor, count: int, *, is_shared: bool = False, owner_id: str = "") -> None:
    """Store this many views, of other owners if an id is given."""
    SagaView.objects.bulk_create(
        SagaView(
            owner=actor.name, owner_id=f"{owner_id}{n}" if owner_id else str(actor.user.pk), name=f"view {n}",
            query="closed=no", is_shared=is_shared, created_at=timezone.now(),
        )
        for n in range(count)
    )  # fmt: skip


def test_view_keeps_its_filter() -> None:
    ada, eve = make_actor("ada"), make_actor("eve")

    saved = save_view(OPEN, actor=ada, name="  My\u00a0 open   ones ", is_shared=False)

    row = SagaView.objects.get()
    assert (row.owner, row.owner_id, row.name, row.query, row.is_shared) == (
        "ada", str(ada.user.pk), "My open ones", "search=ORD-1+%26+more&closed=no", False,
    )  # fmt: skip
    assert (saved.filter, saved.problem) == (OPEN, "")
    assert [view.filter for view in list_saved(ada)] == [OPEN]
    assert list_saved(eve) == []
    with pytest.raises(ViewNotFound):
        find_saved(row.pk, actor=eve)


def test_repeat_saves_once_and_another_filter_needs_another_name() -> None:
    ada, eve = make_actor("ada"), make_actor("eve")
    first = save_view(OPEN, actor=ada, name="Mine", is_shared=False)

    assert save_view(OPEN, actor=ada, name="Mine", is_shared=False).row.pk == first.row.pk
    with pytest.raises(BadRequest, match="A view named 'Mine' exists already"):
        save_view(SagaFilter(closed="today"), actor=ada, name="Mine", is_shared=False)
    save_view(OPEN, actor=eve, name="Mine", is_shared=False)
    assert stored() == [("ada", "Mine", False), ("eve", "Mine", False)]


def test_shared_names_are_unique_for_all() -> None:
    ada, eve = make_actor("ada", "supervisors"), make_actor("eve", "supervisors")
    save_view(OPEN, actor=ada, name="Night", is_shared=True)

    with pytest.raises(BadRequest, match="A view named 'Night' exists already"):
        save_view(OPEN, actor=eve, name="Night", is_shared=True)
    own = save_view(OPEN, actor=eve, name="Night", is_shared=False)
    with pytest.raises(BadRequest, match="A view named 'Night' exists already"):
        change_view(own.row.pk, actor=eve, name="Night", is_shared=True)

    assert stored() == [("ada", "Night", True), ("eve", "Night", False)]
    assert [view.row.is_shared for view in list_saved(eve)] == [False, True]


NAMES: dict[str, tuple[Any, str]] = {
    "empty": ("", "at least 1 visible character"),
    "blanks": (" \u2003 ", "at least 1 visible character"),
    "marks": ("\u0301", "at least 1 visible character"),
    "hidden": ("Night\u200b", "invisible characters"),
    "direction": ("\u202eNight", "invisible characters"),
    "NUL": ("Night\x00", "invisible characters"),
    "half a pair": ("Night\ud800", "invisible characters"),
    "long": ("x" * 61, "at most 60 characters; it has 61."),
    "no text": (7, "at least 1 visible character"),
    "secret": ("card 4242 4242 4242 4242", "looks like a secret"),
}


@pytest.mark.parametrize("case", NAMES)
def test_invalid_names_are_refused(case: str) -> None:
    (name, refusal), ada = NAMES[case], make_actor("ada")
    kept = save_view(OPEN, actor=ada, name="\u2603" * 60, is_shared=False)

    for change in (
        lambda: save_view(OPEN, actor=ada, name=name, is_shared=False),
        lambda: change_view(kept.row.pk, actor=ada, name=name, is_shared=False),
    ):
        with pytest.raises(BadRequest, match=refusal):
            change()

    assert stored() == [("ada", "\u2603" * 60, False)]


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [(SagaFilter(), "no filter"), (SagaFilter(search="4242 4242 4242 4242"), "search contains what looks like")],
)
def test_filters_that_cannot_be_kept_are_refused(wanted: SagaFilter, refusal: str) -> None:
    with pytest.raises(BadRequest, match=refusal):
        save_view(wanted, actor=make_actor("ada"), name="Mine", is_shared=False)
    assert stored() == []


def test_permissions_are_checked_in_every_function() -> None:
    boss, ada, nobody = make_actor("boss", "supervisors"), make_actor("ada"), make_actor("nobody", "")
    shared = save_view(OPEN, actor=boss, name="Night", is_shared=True).row.pk
    own = save_view(OPEN, actor=ada, name="Mine", is_shared=False).row.pk
    calls = [
        (nobody, "view_saga", lambda: list_saved(nobody)),
        (nobody, "view_saga", lambda: find_saved(shared, actor=nobody)),
        (nobody, "view_saga", lambda: save_view(OPEN, actor=nobody, name="x", is_shared=False)),
        (nobody, "view_saga", lambda: change_view(shared, actor=nobody, name="x", is_shared=True)),
        (nobody, "view_saga", lambda: delete_view(shared, actor=nobody, name="Night")),
        (ada, "share_view", lambda: save_view(OPEN, actor=ada, name="x", is_shared=True)),
        (ada, "share_view", lambda: change_view(own, actor=ada, name="Mine", is_shared=True)),
        (ada, "share_view", lambda: change_view(shared, actor=ada, name="x", is_shared=False)),
        (ada, "share_view", lambda: delete_view(shared, actor=ada, name="Night")),
    ]
    for actor, permission, call in calls:
        with pytest.raises(PermissionRefused, match=rf"{actor.name} lacks the permission sagas\.{permission}"):
            call()
    with pytest.raises(ViewNotFound):
        change_view(own, actor=boss, name="x", is_shared=False)
    with pytest.raises(ViewNotFound):
        delete_view(own, actor=boss, name="Mine")
    assert stored() == [("boss", "Night", True), ("ada", "Mine", False)]

    change_view(own, actor=ada, name="Renamed", is_shared=False)
    with pytest.raises(BadRequest, match="is named 'Renamed' now"):
        delete_view(own, actor=ada, name="Mine")
    delete_view(own, actor=ada, name="Renamed")
    assert stored() == [("boss", "Night", True)]


def test_shell_has_no_views() -> None:
    with pytest.raises(BadRequest, match="needs an account"):
        save_view(OPEN, actor=Actor(name="root", is_trusted=True), name="Mine", is_shared=False)


def test_limits() -> None:
    boss = make_actor("boss", "supervisors")
    fill(boss, MAX_OWN)
    with pytest.raises(BadRequest, match="boss has 50 saved views, the limit"):
        save_view(OPEN, actor=boss, name="one more", is_shared=False)
    SagaView.objects.all().delete()
    fill(boss, MAX_SHARED, is_shared=True, owner_id="other")
    with pytest.raises(BadRequest, match="There are 100 shared views, the limit"):
        save_view(OPEN, actor=boss, name="one more", is_shared=True)
    own = save_view(OPEN, actor=boss, name="one more", is_shared=False)
    with pytest.raises(BadRequest, match="There are 100 shared views, the limit"):
        change_view(own.row.pk, actor=boss, name="one more", is_shared=True)


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_views_saved_at_once_do_not_pass_the_limit() -> None:
    ada = make_actor("ada")
    fill(ada, MAX_OWN - 1)

    def save(name: str) -> Any:
        return lambda: save_view(OPEN, actor=ada, name=name, is_shared=False)

    results = run_side_by_side([save("a"), save("b"), save("c")])

    assert sorted(type(result).__name__ for result in results) == ["BadRequest", "BadRequest", "SavedView"]
    assert SagaView.objects.count() == MAX_OWN


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_same_name_saved_at_once_is_stored_once() -> None:
    ada = make_actor("ada")
    filters = [SagaFilter(closed=closed) for closed in ("no", "today", "1h")]

    results = run_side_by_side(
        [lambda wanted=wanted: save_view(wanted, actor=ada, name="Mine", is_shared=False) for wanted in filters]
    )

    assert sorted(type(result).__name__ for result in results) == ["BadRequest", "BadRequest", "SavedView"]
    assert stored() == [("ada", "Mine", False)]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("display=stuck", "display must be one of"),
        ("mood=bad", "There is no filter 'mood'"),
        ("closed=", "closed must be one of"),
        ("", "The filter is empty."),
    ],
)
def test_filter_that_became_invalid_is_reported(query: str, problem: str) -> None:
    ada = make_actor("ada")
    save_view(OPEN, actor=ada, name="Mine", is_shared=False)
    SagaView.objects.update(query=query)

    [view] = list_saved(ada)

    assert (view.filter, view.problem.startswith(problem)) == (None, True)


def test_missing_definition_is_reported_and_still_filters() -> None:
    ada, wanted = make_actor("ada"), SagaFilter(definition="trip:1")
    define(s0=Compensatable(lambda _step: None, nothing_to_undo))
    assert save_view(wanted, actor=ada, name="Trips", is_shared=False).problem == ""

    registry.forget("trip", 1)

    [view] = list_saved(ada)
    assert (view.filter, view.problem) == (wanted, "The code no longer has the definition trip:1.")


def test_own_views_of_deleted_accounts_are_deleted() -> None:
    boss, ada = make_actor("boss", "supervisors"), make_actor("ada")
    save_view(OPEN, actor=boss, name="Night", is_shared=True)
    save_view(OPEN, actor=boss, name="Mine", is_shared=False)
    save_view(OPEN, actor=ada, name="Mine", is_shared=False)
    SagaView.objects.create(owner="old", owner_id="no number", name="Old", query="closed=no", created_at=timezone.now())
    boss.user.delete()

    assert count_ownerless_views() == 2
    assert delete_ownerless_views() == 2
    assert stored() == [("boss", "Night", True), ("ada", "Mine", False)]
    assert delete_ownerless_views() == 0
