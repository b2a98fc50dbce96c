"""Bulks over HTTP."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import clock
from sagas.models import SagaBulk
from sagas.operators import operations
from sagas.operators.bulk import freezing, runner
from sagas.operators.bulk.preconditions import EVERYTHING
from sagas.operators.preconditions import Operation
from tests.admin import trips
from tests.admin.pages import REASON, operations_of, stored

from .conftest import Enter, assert_problem
from .operating import BULKS, SAGAS

pytestmark = pytest.mark.django_db(databases="__all__")


def test_bulk_is_frozen_started_and_watched_and_repeats_have_no_effect(enter: Enter) -> None:
    first, second = trips.make_paused(), trips.make_paused()
    boss = enter("supervisor")

    frozen = boss.post(BULKS, {"operation": "resume", "filter": {"display": "held", "needs": "paused"}})
    url = frozen["Location"]
    shown = frozen.json()
    assert (frozen.status_code, shown["total"], shown["words"]) == (201, 2, "state: held; needs an operator: paused")
    operations.resume(second.pk, actor=trips.BOSS, reason=REASON)
    operations.pause(second.pk, actor=trips.BOSS, reason=REASON)
    assert boss.post(f"{url}start/", {"reason": REASON, "count": 2}).json()["state"] == "running"
    assert boss.post(f"{url}start/", {"reason": REASON, "count": 2}).json()["state"] == "running"
    with clock.restored():
        clock.move(timedelta(seconds=5))
        runner.run_due()

    ended = boss.get(url).json()
    assert (ended["state"], ended["counts"]["done"], ended["counts"]["stale"]) == ("finished", 1, 1)
    page = boss.get(f"{url}results/?page_size=1").json()
    assert [item["result"] for item in page["results"]] == ["done"]
    [item] = boss.get(page["next"]).json()["results"]
    assert (item["saga_id"], item["result"]) == (str(second.pk), "stale")
    assert [operation[0] for operation in operations_of(first)] == ["pause", "resume"]
    assert boss.post(f"{url}stop/", {}).json()["state"] == "finished"


def test_bulks_are_paginated_newest_first(enter: Enter) -> None:
    boss, saga = enter("supervisor"), trips.start()
    made = [freezing.freeze_selected(Operation.PAUSE, [saga.pk], actor=trips.BOSS) for _ in range(5)]
    freezing.start_bulk(made[0].pk, actor=trips.BOSS, reason=REASON)
    found: list[Any] = []
    url = f"{BULKS}?page_size=2"
    while url:
        page = boss.get(url).json()
        found += page["results"]
        url = page["next"]

    assert [one["id"] for one in found] == [str(one.pk) for one in reversed(made)]
    assert [one["state"] for one in found] == [*["frozen"] * 4, "running"]
    assert (found[-1]["reason"], found[-1]["total"]) == (REASON, 1)
    assert set(boss.get(f"{BULKS}{made[0].pk}/").json()) - set(found[0]) == {"counts"}
    assert enter("viewer").get(BULKS).status_code == 200
    assert_problem(enter("nobody").get(BULKS), 403, "permission-denied")
    for query in ("cursor=x", "page_size=0", "page_size=101", "display=held", "state=running"):
        assert_problem(boss.get(f"{BULKS}?{query}"), 400, "bad-request")
    with CaptureQueriesContext(connection) as queries:
        boss.get(BULKS)
    assert len(queries) <= 10


def test_bulk_by_selection_and_stop(enter: Enter) -> None:
    saga, boss = trips.start(), enter("supervisor")
    url = boss.post(BULKS, {"operation": "pause", "sagas": [str(saga.pk)]})["Location"]
    assert_problem(boss.post(f"{url}stop/", {}), 409, "refused")
    boss.post(f"{url}start/", {"reason": REASON})

    stopped = boss.post(f"{url}stop/", {"reason": "Wrong."}).json()

    assert (stopped["state"], stopped["stopped_by"], runner.run_due()) == ("stopped", "supervisor", 0)
    assert operations_of(saga) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"operation": "pause"},
        {"operation": "pause", "filter": {}},
        {"operation": "pause", "filter": None},
        {"operation": "pause", "filter": {"display": ""}},
        {"operation": "pause", "filter": {"display": "nonsense"}},
        {"operation": "pause", "filter": {"displayy": "held"}},
        {"operation": "pause", "filter": {"display": ["held"]}},
        {"operation": "pause", "filter": {"search": " "}},
        {"operation": "pause", "filter": {"search": "\u200b"}},
        {"operation": "pause", "filter": {"since": "2000-01-01T00:00:00Z"}},
        {"operation": "pause", "filter": {"until": "2999-01-01T00:00:00Z"}},
        {"operation": "pause", "filter": {"since": "2000-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z"}},
        {"operation": "pause", "filter": {"attempts": "0"}},
        {"operation": "pause", "filter": {"attempts": "1"}},
        {"operation": "pause", "everything": False},
        {"operation": "pause", "everything": "true"},
        {"operation": "pause", "everything": 1},
        {"operation": "pause", "everything": True, "filter": {"display": "pending"}},
        {"operation": "pause", "everything": True, "sagas": []},
        {"operation": "pause", "sagas": []},
        {"operation": "pause", "sagas": ["x"]},
        {"operation": "pause", "sagas": [str(uuid4())]},
        {"operation": "pause", "sagas": [1]},
        {"operation": "pause", "sagas": "all"},
        {"operation": "abandon", "everything": True},
        {"operation": "skip", "everything": True},
        {"operation": None, "everything": True},
        {"operation": "pause", "everything": True, "limit": 1},
        {"operation": "pause", "filter": {"display": "held"}},
    ],
)
def test_missing_or_invalid_selection_is_refused(enter: Enter, body: Any) -> None:
    saga = trips.start()
    before = stored(saga)

    assert_problem(enter("admin").post(BULKS, body), 422, "invalid-input")

    assert (SagaBulk.objects.count(), stored(saga)) == (0, before)


def test_bulk_of_all_open_sagas_needs_a_confirmation(enter: Enter) -> None:
    trips.start()
    admin = enter("admin")
    url = admin.post(BULKS, {"operation": "pause", "everything": True})["Location"]

    for words in ({}, {"words": "yes"}, {"count": 1}):
        assert_problem(admin.post(f"{url}start/", {"reason": REASON, **words}), 422, "invalid-input")
    assert SagaBulk.objects.get().state == "frozen"
    assert admin.post(f"{url}start/", {"reason": REASON, "words": EVERYTHING}).status_code == 200


def test_bulks_need_the_view_permission(enter: Enter) -> None:
    frozen = freezing.freeze_selected(Operation.PAUSE, [trips.start().pk], actor=trips.BOSS)
    person = enter("nobody")
    User.objects.get(username="nobody").user_permissions.add(Permission.objects.get(codename="view_saga"))

    assert person.get(SAGAS).status_code == 200
    assert_problem(person.get(f"{BULKS}{frozen.pk}/"), 403, "permission-denied")
