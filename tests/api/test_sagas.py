"""Operate sagas over HTTP: what the console shows and does, by the same functions, for programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import bulk, bulk_running, clock, operations, rules
from sagas.bulk_rules import EVERYTHING
from sagas.display import DisplayState
from sagas.models import Saga, SagaAttempt, SagaBulk, SagaStep
from sagas.rules import Operation
from tests.admin import trips
from tests.admin.pages import EVIDENCE, REASON, deeds_of, stored
from tests.admin.test_operations import WHERE

from .conftest import Shopper, assert_problem, list_pointers, make_shopper

pytestmark = pytest.mark.django_db(databases="__all__")

SAGAS = "/api/v1/sagas/"
BULKS = f"{SAGAS}bulks/"
GROUPS = {"viewer": "Saga viewers", "operator": "Saga operators", "supervisor": "Saga supervisors"}
Enter = Callable[..., Shopper]


@pytest.fixture
def enter() -> Enter:
    """Return a function that makes a person of a group, with a token."""

    def make(name: str) -> Shopper:
        found = make_shopper(name, is_superuser=name == "admin")
        if name in GROUPS:
            assert found.user is not None
            found.user.groups.add(Group.objects.get(name=GROUPS[name]))
        return found

    return make


def url_of(saga: Saga, operation: Operation | None = None) -> str:
    url = f"{SAGAS}{saga.pk}/"
    return f"{url}actions/{operation.value.replace('_', '-')}/" if operation else url


def body_of(saga: Saga, operation: Operation = Operation.PAUSE, step: str | None = None, **changes: Any) -> Any:
    body = {"reason": REASON, "revision": Saga.objects.get(pk=saga.pk).revision}
    if step:
        body["step"] = step
    if operation.value.startswith("mark"):
        body["evidence"] = EVIDENCE
    return {**body, **changes}


# --- Reading --------------------------------------------------------------------------------------------------------


def test_list_shows_what_the_console_shows(enter: Enter) -> None:
    saga = trips.make_compensation_failing()
    answer = enter("supervisor").get(SAGAS)

    [found] = answer.json()["results"]
    assert (answer.status_code, answer.json()["next"]) == (200, None)
    assert found["id"] == str(saga.pk)
    assert (found["display_state"], found["step"], found["attempts"]) == ("compensation_failing", "book_flight", 10)
    assert "The airline is closed." in found["last_error"]
    assert "no-cache" in answer["Cache-Control"]


def test_errors_need_the_payload_permission(enter: Enter) -> None:
    saga, viewer = trips.make_compensation_failing(), enter("viewer")

    for url in (SAGAS, url_of(saga)):
        text = viewer.get(url).content.decode()
        assert "RuntimeError" in text
        assert "The airline is closed." not in text


def test_filters_and_search_narrow(enter: Enter) -> None:
    held, running = trips.make_paused(), trips.make_waiting_for_retry()
    number, viewer = held.keys.get().value, enter("viewer")

    def ids(**query: str) -> list[str]:
        answer = viewer.get(SAGAS + "?" + "&".join(f"{name}={value}" for name, value in query.items()))
        assert answer.status_code == 200
        return [found["id"] for found in answer.json()["results"]]

    assert ids() == [str(running.pk), str(held.pk)]
    assert ids(display="held") == ids(needs="paused") == ids(search=number) == ids(needs="any") == [str(held.pk)]
    assert ids(search=str(running.pk)) == [str(running.pk)]
    assert ids(definition="trip:3", display="waiting_for_retry") == [str(running.pk)]
    assert ids(definition="trip:2") == []


def test_saga_without_steps_is_shown(enter: Enter) -> None:
    saga = trips.make_completed()
    SagaAttempt.objects.filter(saga=saga).delete()
    SagaStep.objects.filter(saga=saga).delete()

    answer = enter("viewer").get(url_of(saga))

    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["state"], answer.json()["steps"]) == (str(saga.pk), "completed", [])


@pytest.mark.parametrize("state", DisplayState)
def test_every_display_state_can_be_asked_for(enter: Enter, state: DisplayState) -> None:
    assert enter("viewer").get(f"{SAGAS}?display={state.value}").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "display=nonsense", "display=", "display=held&display=running", "needs=x", "definition=A", "search=",
        "search=%20", "search=%00", "search=" + "x" * 201, "displayy=held", "steps__result=1", "cursor=x", "cursor=",
        "cursor=%00",
        "page_size=0", "page_size=101", "page_size=x", "page_size=%C2%B2", "page_size=", "format=json", "o=1",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_an_error(enter: Enter, query: str) -> None:
    trips.start()

    assert_problem(enter("admin").get(f"{SAGAS}?{query}"), 400, "bad-request")


def test_pages_are_leafed_through_by_place(enter: Enter) -> None:
    made = [trips.start() for _ in range(5)]
    viewer = enter("viewer")
    found, url = [], f"{SAGAS}?page_size=2&definition=trip"
    while url:
        page = viewer.get(url).json()
        found += [saga["id"] for saga in page["results"]]
        url = page["next"]

    assert found == [str(saga.pk) for saga in reversed(made)]


def test_list_costs_the_same_for_few_and_for_many(enter: Enter) -> None:
    trips.start()
    viewer = enter("viewer")

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(SAGAS).status_code == 200
        return len(queries)

    few = count()
    for _ in range(10):
        trips.start()
    assert few == count() <= 10


def test_saga_tells_its_steps_and_what_may_be_done(enter: Enter) -> None:
    saga = trips.make_compensation_failing()

    found = enter("operator").get(url_of(saga)).json()

    assert [(step["name"], step["state"], step["effect"]) for step in found["steps"]][:2] == [
        ("book_hotel", "succeeded", "yes"),
        ("book_flight", "compensating", "yes"),
    ]
    allowed = {action["operation"]: action["refusal"] for action in found["actions"] if not action["is_allowed"]}
    assert allowed["abandon"] == "operator lacks the permission sagas.abandon_saga."
    assert "retry" not in allowed
    assert "result" not in found["steps"][0]


def test_each_step_tells_what_may_be_done_to_it(enter: Enter) -> None:
    failing, unknown = trips.make_compensation_failing(), trips.make_held_unknown()
    refused = trips.make_contract_violation()

    people = {name: enter(name) for name in ("viewer", "operator", "supervisor")}

    def actions(person: str, saga: Saga) -> dict[str, list[str]]:
        steps = people[person].get(url_of(saga)).json()["steps"]
        return {step["name"]: step["actions"] for step in steps if step["actions"]}

    assert actions("supervisor", failing) == {"book_flight": ["retry", "mark_compensated"]}
    assert actions("supervisor", unknown) == {
        "pay": ["retry", "mark_succeeded", "mark_refused"], "send_tickets": ["skip"],
    }  # fmt: skip
    assert "skip" in actions("supervisor", refused)["send_tickets"]
    assert actions("operator", unknown) == {"pay": ["retry"]}
    assert actions("viewer", unknown) == {}
    assert actions("supervisor", trips.make_completed()) == {}
    for name, listed in actions("supervisor", unknown).items():
        for operation in rules.STEP_OPERATIONS | {Operation.RETRY}:
            plan = people["supervisor"].get(f"{url_of(unknown, operation)}?step={name}").json()
            assert plan["is_allowed"] == (operation.value in listed), (name, operation)


def test_entity_tag_changes_with_the_saga(enter: Enter) -> None:
    saga, viewer = trips.start(), enter("viewer")
    tag = viewer.get(url_of(saga))["ETag"]

    same = viewer.get(url_of(saga), **{"If-None-Match": f'W/"other", {tag}'})
    operations.pause(saga.pk, actor=trips.BOSS, reason=REASON)
    changed = viewer.get(url_of(saga), **{"If-None-Match": tag})

    assert (same.status_code, same.content, changed.status_code) == (304, b"", 200)
    assert changed["ETag"] != tag


# --- Acting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
def test_every_action_is_planned_and_done(enter: Enter, operation: Operation) -> None:
    maker, step = WHERE[operation]
    saga = trips.MAKERS[maker]()
    boss, before = enter("supervisor"), stored(saga)

    plan = boss.get(url_of(saga, operation) + (f"?step={step}" if step else ""))
    assert (plan.status_code, plan.json()["is_allowed"], stored(saga)) == (200, True, before)

    done = boss.post(url_of(saga, operation), body_of(saga, operation, step))
    assert (done.status_code, done.json()["is_repeat"]) == (200, False), done.content
    assert deeds_of(saga)[-1] == (operation.value, "supervisor", REASON)

    again = boss.post(url_of(saga, operation), body_of(saga, operation, step, revision=plan.json()["revision"]))
    assert (again.status_code, again.json().get("is_repeat")) in [(200, True), (409, None)]
    assert sum(deed == (operation.value, "supervisor", REASON) for deed in deeds_of(saga)) == 1


def test_stale_revision_does_nothing_and_tells_the_facts(enter: Enter) -> None:
    saga, operator = trips.make_waiting_for_retry(), enter("operator")
    body = body_of(saga)
    operations.retry_now(saga.pk, actor=trips.BOSS, reason=REASON)
    before = stored(saga)

    problem = assert_problem(operator.post(url_of(saga, Operation.PAUSE), body), 409, "stale-revision")

    assert (problem["expected"], problem["found"], stored(saga)) == (2, 3, before)


def test_refusal_tells_the_facts(enter: Enter) -> None:
    saga = trips.make_completed()
    before = stored(saga)

    problem = assert_problem(enter("admin").post(url_of(saga, Operation.PAUSE), body_of(saga)), 409, "refused")

    assert "completed" in problem["detail"]
    assert stored(saga) == before


HUGE = 10**400
BODIES: dict[str, tuple[Any, set[str]]] = {
    "reason missing": ({"revision": 1}, {"/reason"}),
    "reason short": ({"reason": "short", "revision": 1}, {"/reason"}),
    "reason blank": ({"reason": " " * 30, "revision": 1}, {"/reason"}),
    "reason long": ({"reason": "x" * 501, "revision": 1}, {"/reason"}),
    "reason number": ({"reason": 1234567890123, "revision": 1}, {"/reason"}),
    "reason null": ({"reason": None, "revision": 1}, {"/reason"}),
    "reason list": ({"reason": [REASON], "revision": 1}, {"/reason"}),
    "reason with NUL": ({"reason": REASON + "\x00", "revision": 1}, {"/reason"}),
    "reason with half a pair": ({"reason": REASON + "\ud800", "revision": 1}, {"/reason"}),
    "revision missing": ({"reason": REASON}, {"/revision"}),
    "revision text": ({"reason": REASON, "revision": "1"}, {"/revision"}),
    "revision true": ({"reason": REASON, "revision": True}, {"/revision"}),
    "revision null": ({"reason": REASON, "revision": None}, {"/revision"}),
    "revision zero": ({"reason": REASON, "revision": 0}, {"/revision"}),
    "revision fraction": ({"reason": REASON, "revision": 1.0}, {"/revision"}),
    "revision beyond a column": ({"reason": REASON, "revision": 2**31}, {"/revision"}),
    "revision huge": ({"reason": REASON, "revision": HUGE}, {"/revision"}),
    "actor": ({"reason": REASON, "revision": 1, "actor": "boss"}, {"/actor"}),
    "operation": ({"reason": REASON, "revision": 1, "operation": "abandon"}, {"/operation"}),
    "step number": ({"reason": REASON, "revision": 1, "step": 1}, {"/step"}),
    "result list": ({"reason": REASON, "revision": 1, "result": [1]}, {"/result"}),
    "evidence short": ({"reason": REASON, "revision": 1, "evidence": "no"}, {"/evidence"}),
    "list": ([], {""}),
    "text": ("x", {""}),
}


@pytest.mark.parametrize("case", BODIES)
def test_wrong_bodies_are_pointed_at_and_do_nothing(enter: Enter, case: str) -> None:
    saga = trips.start()
    before = stored(saga)
    body, pointers = BODIES[case]

    answer = enter("admin").post(url_of(saga, Operation.PAUSE), body)

    problem = assert_problem(answer, 422, "invalid-input")
    assert list_pointers(problem) == pointers
    assert stored(saga) == before


@pytest.mark.parametrize(
    ("operation", "changes"),
    [
        (Operation.PAUSE, {"step": "pay"}),
        (Operation.PAUSE, {"evidence": EVIDENCE}),
        (Operation.CANCEL, {"result": {}}),
        (Operation.MARK_REFUSED, {"step": "pay", "result": {}}),
        (Operation.SKIP, {}),
        (Operation.MARK_SUCCEEDED, {"evidence": EVIDENCE}),
        (Operation.SKIP, {"step": "nonsense"}),
        (Operation.RETRY, {"step": "nonsense"}),
    ],
)
def test_argument_that_means_nothing_here_is_refused(enter: Enter, operation: Operation, changes: Any) -> None:
    saga = trips.make_held_unknown()
    before = stored(saga)
    body = {"reason": REASON, "revision": saga.revision, **changes}

    assert_problem(enter("admin").post(url_of(saga, operation), body), 422, "invalid-input")

    assert stored(saga) == before


def test_addresses_that_are_none(enter: Enter) -> None:
    saga, admin = trips.start(), enter("admin")
    body = body_of(saga)

    for path in (f"{SAGAS}{uuid4()}/", f"{SAGAS}nonsense/", f"{BULKS}{uuid4()}/", f"{BULKS}{uuid4()}/results/"):
        assert_problem(admin.get(path), 404, "not-found")
    for path in (
        f"{SAGAS}{uuid4()}/actions/pause/", f"{url_of(saga)}actions/nonsense/", f"{url_of(saga)}actions/mark_refused/",
    ):  # fmt: skip
        assert_problem(admin.post(path, body), 404, "not-found")
    assert_problem(admin.post(f"{BULKS}{uuid4()}/start/", {"reason": REASON}), 404, "not-found")
    assert_problem(admin.post(url_of(saga), body), 405, "method-not-allowed")
    assert_problem(admin.post(url_of(saga, Operation.PAUSE), b"{"), 400, "malformed-json")
    assert_problem(
        admin.post(url_of(saga, Operation.PAUSE), b"x", content_type="text/plain"), 415, "unsupported-media-type"
    )
    assert_problem(admin.get(f"{url_of(saga, Operation.PAUSE)}?step=%00"), 400, "bad-request")
    assert_problem(admin.post(f"{url_of(saga, Operation.PAUSE)}?revision=1", body), 400, "bad-request")
    assert deeds_of(saga) == []


def test_requests_are_throttled(enter: Enter, settings: Any) -> None:
    rates = {**settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"], "sagas": "2/day"}
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}
    saga, operator, other = trips.start(), enter("operator"), enter("supervisor")
    for _ in range(2):
        assert operator.get(SAGAS).status_code == 200

    answer = operator.post(url_of(saga, Operation.PAUSE), body_of(saga))

    assert_problem(answer, 429, "too-many-requests")
    assert int(answer["Retry-After"]) > 0
    assert (other.get(SAGAS).status_code, deeds_of(saga)) == (200, [])


# --- Bulks ----------------------------------------------------------------------------------------------------------


def test_bulk_is_drawn_started_watched_and_repeated_without_effect(enter: Enter) -> None:
    first, second = trips.make_paused(), trips.make_paused()
    boss = enter("supervisor")

    drawn = boss.post(BULKS, {"operation": "resume", "filter": {"display": "held", "needs": "paused"}})
    url = drawn["Location"]
    assert (drawn.status_code, drawn.json()["total"], drawn.json()["words"]) == (201, 2, "display: held; needs: paused")
    operations.resume(second.pk, actor=trips.BOSS, reason=REASON)
    operations.pause(second.pk, actor=trips.BOSS, reason=REASON)
    assert boss.post(f"{url}start/", {"reason": REASON, "count": 2}).json()["state"] == "running"
    assert boss.post(f"{url}start/", {"reason": REASON, "count": 2}).json()["state"] == "running"
    with clock.restored():
        clock.move(timedelta(seconds=5))
        bulk_running.run_due()

    ended = boss.get(url).json()
    assert (ended["state"], ended["counts"]["done"], ended["counts"]["stale"]) == ("finished", 1, 1)
    page = boss.get(f"{url}results/?page_size=1").json()
    assert [item["result"] for item in page["results"]] == ["done"]
    [item] = boss.get(page["next"]).json()["results"]
    assert (item["saga_id"], item["result"]) == (str(second.pk), "stale")
    assert [deed[0] for deed in deeds_of(first)] == ["pause", "resume"]
    assert boss.post(f"{url}stop/", {}).json()["state"] == "finished"


def test_bulks_are_listed_newest_first_and_leafed_through(enter: Enter) -> None:
    boss, saga = enter("supervisor"), trips.start()
    made = [bulk.draw_selected(Operation.PAUSE, [saga.pk], actor=trips.BOSS) for _ in range(5)]
    bulk.start_bulk(made[0].pk, actor=trips.BOSS, reason=REASON)
    found: list[Any] = []
    url = f"{BULKS}?page_size=2"
    while url:
        page = boss.get(url).json()
        found += page["results"]
        url = page["next"]

    assert [one["id"] for one in found] == [str(one.pk) for one in reversed(made)]
    assert [one["state"] for one in found] == [*["drawn"] * 4, "running"]
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

    assert (stopped["state"], stopped["stopped_by"], bulk_running.run_due()) == ("stopped", "supervisor", 0)
    assert deeds_of(saga) == []


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
def test_lost_or_wrong_set_is_refused(enter: Enter, body: Any) -> None:
    saga = trips.start()
    before = stored(saga)

    assert_problem(enter("admin").post(BULKS, body), 422, "invalid-input")

    assert (SagaBulk.objects.count(), stored(saga)) == (0, before)


def test_everything_is_confirmed_in_words(enter: Enter) -> None:
    trips.start()
    admin = enter("admin")
    url = admin.post(BULKS, {"operation": "pause", "everything": True})["Location"]

    for words in ({}, {"words": "yes"}, {"count": 1}):
        assert_problem(admin.post(f"{url}start/", {"reason": REASON, **words}), 422, "invalid-input")
    assert SagaBulk.objects.get().state == "drawn"
    assert admin.post(f"{url}start/", {"reason": REASON, "words": EVERYTHING}).status_code == 200


def test_permission_to_view_bulks_is_asked(enter: Enter) -> None:
    drawn = bulk.draw_selected(Operation.PAUSE, [trips.start().pk], actor=trips.BOSS)
    person = enter("nobody")
    User.objects.get(username="nobody").user_permissions.add(Permission.objects.get(codename="view_saga"))

    assert person.get(SAGAS).status_code == 200
    assert_problem(person.get(f"{BULKS}{drawn.pk}/"), 403, "permission-denied")
