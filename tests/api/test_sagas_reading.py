"""Reading sagas over HTTP, by the console's own functions."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas.models import Saga, SagaAttempt, SagaStep
from sagas.operators import operations, preconditions
from sagas.operators.preconditions import Operation
from sagas.operators.presentation import DisplayState
from tests.admin import trips
from tests.admin.pages import REASON

from .conftest import Enter, assert_problem
from .operating import SAGAS, url_of

pytestmark = pytest.mark.django_db(databases="__all__")


def test_list_shows_what_the_console_shows(enter: Enter) -> None:
    saga = trips.make_compensation_failing()
    answer = enter("supervisor").get(SAGAS)

    [found] = answer.json()["results"]
    assert (answer.status_code, answer.json()["next"]) == (200, None)
    assert found["id"] == str(saga.pk)
    assert (found["display_state"], found["step"], found["attempts"]) == ("compensation_failing", "book_flight", 10)
    assert "The airline is closed." in found["last_error"]
    assert "no-cache" in answer["Cache-Control"]


def test_errors_need_their_own_permission(enter: Enter) -> None:
    saga, viewer, operator = trips.make_compensation_failing(), enter("viewer"), enter("operator")

    for url in (SAGAS, url_of(saga)):
        text = viewer.get(url).content.decode()
        assert "RuntimeError" in text
        assert "The airline is closed." not in text
        assert "The airline is closed." in operator.get(url).content.decode()


def test_filters_and_search(enter: Enter) -> None:
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
def test_every_display_state_is_a_filter(enter: Enter, state: DisplayState) -> None:
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
def test_invalid_parameters_are_errors(enter: Enter, query: str) -> None:
    trips.start()

    assert_problem(enter("admin").get(f"{SAGAS}?{query}"), 400, "bad-request")


def test_pages_are_read_by_cursor(enter: Enter) -> None:
    made = [trips.start() for _ in range(5)]
    viewer = enter("viewer")
    found, url = [], f"{SAGAS}?page_size=2&definition=trip"
    while url:
        page = viewer.get(url).json()
        found += [saga["id"] for saga in page["results"]]
        url = page["next"]

    assert found == [str(saga.pk) for saga in reversed(made)]


def test_query_count_does_not_depend_on_the_number_of_sagas(enter: Enter) -> None:
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


def test_saga_shows_its_steps_and_possible_operations(enter: Enter) -> None:
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


def test_each_step_shows_its_possible_operations(enter: Enter) -> None:
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
        for operation in preconditions.STEP_REQUIRED | {Operation.RETRY}:
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
