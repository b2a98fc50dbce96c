"""Operation pages: what each of them shows, offers and does."""

import re
from uuid import uuid4

import pytest

from sagas.models import Saga, SagaAttempt, SagaStep
from sagas.operators.actor import Actor
from sagas.operators.preconditions import STEP_REQUIRED, Operation
from sagas.testing import drain

from . import trips
from .operating import fill, make
from .pages import EVIDENCE, LIST, REASON, LogIn, action_of, form_of, operations_of, page_of, stored, text_of

pytestmark = pytest.mark.django_db


def test_message_is_written_after_the_operation(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()

    client = log_in("operator")

    response = client.post(action_of(saga, Operation.RETRY), form_of(saga), follow=True)

    message = "Done: book_hotel is due now, with a fresh budget. The state below changes"
    assert message in text_of(response)
    assert 'role="status" aria-live="polite"' in text_of(response)
    assert "The bank is back, see ticket 42." in text_of(client.get(page_of(saga), {"tab": "history"}))


def test_operation_leads_back_to_the_filtered_list(log_in: LogIn) -> None:
    saga, client = trips.make_waiting_for_retry(), log_in("operator")
    kept = "?_changelist_filters=display%3Dwaiting_for_retry%26step%3Dbook_hotel"
    list_link = f'<a href="{LIST}?display=waiting_for_retry&step=book_hotel">Sagas</a>'

    page = text_of(client.get(f"{page_of(saga)}{kept}"))
    [act] = re.findall(r'href="([^"]*/act/retry/[^"]*)"', page)
    form = text_of(client.get(act))
    done = client.post(act, form_of(saga))

    assert list_link in page
    assert list_link in form
    assert done["Location"] == f"{page_of(saga)}{kept}"
    tabs = re.findall(r'<li><a href="(\?tab=[^"]*)"', page)
    assert len(tabs) == 4
    assert all(kept[1:] in tab for tab in tabs)


def test_retry_makes_the_step_due(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()

    log_in("operator").post(action_of(saga, Operation.RETRY), form_of(saga))

    assert drain(saga, patience=trips.timedelta(minutes=1)).state == "completed"
    assert SagaAttempt.objects.filter(saga=saga, step__name="book_hotel").count() == 2


def test_force_compensate_starts_compensating(log_in: LogIn) -> None:
    saga = trips.make_unknown()

    log_in("supervisor").post(action_of(saga, Operation.COMPENSATE), form_of(saga))

    found = Saga.objects.get(pk=saga.pk)
    assert (found.state, found.cause["kind"], found.cause["actor"]) == ("compensating", "operator", "supervisor")
    assert drain(saga).state == "compensated"


def test_force_compensate_after_the_pivot_is_not_offered(log_in: LogIn) -> None:
    saga = trips.make_retries_exhausted()
    client, before = log_in("admin"), stored(saga)

    page = text_of(client.get(page_of(saga)))
    assert action_of(saga, Operation.COMPENSATE) not in page
    assert "The pivot has succeeded: nothing is compensated after it." in page
    for response in (
        client.get(action_of(saga, Operation.COMPENSATE)),
        client.post(action_of(saga, Operation.COMPENSATE), form_of(saga)),
    ):
        assert response.status_code == 409
        assert "The pivot has succeeded: nothing is compensated after it." in text_of(response)
    assert stored(saga) == before


@pytest.mark.parametrize("operation", [Operation.RETRY, Operation.SKIP, Operation.MARK_SUCCEEDED])
def test_refusal_of_a_leased_step_shows_the_lease_end(log_in: LogIn, operation: Operation) -> None:
    saga = trips.make_running()
    client, before = log_in("admin"), stored(saga)
    until = SagaStep.objects.get(saga=saga, name="book_hotel").lease_until

    response = client.post(action_of(saga, operation), fill(saga, operation, "book_hotel"))

    assert response.status_code == 409
    assert f"until {until:%Y-%m-%d %H:%M:%S} UTC" in text_of(response)
    assert stored(saga) == before


@pytest.mark.parametrize("operation", sorted(STEP_REQUIRED))
def test_only_steps_that_allow_the_operation_are_offered(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("admin"), stored(saga)

    offered = client.get(action_of(saga, operation))
    assert offered.status_code == 200
    assert action_of(saga, operation, step) in text_of(offered)
    assert action_of(saga, operation, "book_hotel") not in text_of(offered)

    for name in ("", "nowhere", "x" * 61, "<b>"):
        assert client.post(action_of(saga, operation), fill(saga, operation, name)).status_code == 400
    assert client.get(action_of(saga, operation, "nowhere")).status_code == 400
    assert stored(saga) == before


def test_page_says_if_no_step_allows_the_operation(log_in: LogIn) -> None:
    saga = trips.make_completed()

    response = log_in("admin").get(action_of(saga, Operation.SKIP))

    assert response.status_code == 409
    assert text_of(response).count("The saga is completed; no operation is possible any more.") == 4


def test_one_of_several_waiting_steps_can_be_retried(log_in: LogIn) -> None:
    saga = trips.start(trips.TourSaga)
    with trips.faults() as fault:
        fault.refuse("book_bus", trips.RetryLater(after=3000))
        fault.refuse("book_boat", trips.InProgress(poll_after=3000))
        for _ in range(3):
            trips.look(saga.pk)
    client = log_in("operator")

    assert action_of(saga, Operation.RETRY, "book_boat") in text_of(client.get(page_of(saga)))
    assert client.post(action_of(saga, Operation.RETRY), form_of(saga, step="book_boat")).status_code == 302

    due = dict(SagaStep.objects.filter(saga=saga).values_list("name", "due_at"))
    assert due["book_bus"] - due["book_boat"] > trips.timedelta(minutes=40)


@pytest.mark.parametrize("result", ['{"made": "pay"}', '{"amount": 123456789012345678901234567890}'])
def test_result_is_stored_exactly(log_in: LogIn, result: str) -> None:
    import json

    saga = trips.make_held_unknown()

    response = log_in("supervisor").post(
        action_of(saga, Operation.MARK_SUCCEEDED), form_of(saga, step="pay", evidence=EVIDENCE, result=result)
    )

    assert response.status_code == 302
    step = SagaStep.objects.get(saga=saga, name="pay")
    assert (step.state, step.is_assumed, step.result) == ("succeeded", True, json.loads(result))


@pytest.mark.parametrize(
    "result",
    ["{", "[]", '"a"', "7", "null", "NaN", '{"a": NaN}', '{"a": Infinity}', "[" * 99_999, "9" * 6000,
     '{"a": "\\u0000"}'],
)  # fmt: skip
def test_result_that_cannot_be_stored_is_refused(log_in: LogIn, result: str) -> None:
    saga = trips.make_held_unknown()
    client, before = log_in("admin"), stored(saga)

    response = client.post(
        action_of(saga, Operation.MARK_SUCCEEDED), form_of(saga, step="pay", evidence=EVIDENCE, result=result)
    )

    assert response.status_code == 400
    assert stored(saga) == before


@pytest.mark.parametrize("operation", [op for op in Operation if op.value.startswith("mark")])
def test_marks_need_evidence(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("admin"), stored(saga)

    assert client.post(action_of(saga, operation), form_of(saga, step=step)).status_code == 400
    assert client.post(action_of(saga, operation), form_of(saga, step=step, evidence="short")).status_code == 400
    assert stored(saga) == before


def test_unknown_saga_and_unknown_action_are_not_found(log_in: LogIn) -> None:
    client, saga = log_in("admin"), trips.make_waiting_for_retry()

    assert client.get(f"{LIST}{uuid4()}/act/retry/").status_code == 404
    assert client.post(f"{LIST}{uuid4()}/act/retry/", form_of(saga)).status_code == 404
    assert client.get(f"{LIST}{uuid4()}/act/skip/").status_code == 404
    assert client.get(f"{LIST}{saga.pk}/act/delete/").status_code == 404
    assert client.get(f"{LIST}{saga.pk}/act/mark_succeeded/").status_code == 404


def test_preview_is_shown_before_the_reason_field(log_in: LogIn) -> None:
    saga = trips.make_unknown()

    text = text_of(log_in("supervisor").get(action_of(saga, Operation.COMPENSATE)))

    assert "The saga compensates: beginning with book_flight, in reverse order." in text
    assert text.index("book_flight</th>") < text.index("book_hotel</th>") < text.index("<textarea")
    assert "external" in text
    assert f'name="revision" value="{saga.revision}"' in text


@pytest.mark.parametrize(("operation", "times"), [(Operation.RETRY, 1), (Operation.COMPENSATE, 0)])
def test_reason_has_the_focus_unless_the_plan_must_be_read(log_in: LogIn, operation: Operation, times: int) -> None:
    saga = trips.make_unknown()

    page = log_in("supervisor").get(action_of(saga, operation)).content.decode()

    assert re.findall(r'name="(\w+)"[^>]* autofocus', page) == ["reason"] * times


def test_abandon_shows_the_remaining_effects(log_in: LogIn) -> None:
    saga = trips.make_compensation_refused()
    client = log_in("supervisor")

    assert f"{saga.pk}:book_flight" in text_of(client.get(action_of(saga, Operation.ABANDON)))
    client.post(action_of(saga, Operation.ABANDON), form_of(saga))

    page = text_of(client.get(page_of(saga)))
    assert "An operator abandoned the saga; left behind: book_hotel, book_flight." in page
    assert f"{saga.pk}:book_flight" in page


def test_actor_is_stored_by_value(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()

    log_in("operator").post(action_of(saga, Operation.RETRY), form_of(saga, actor="somebody else", is_trusted="1"))

    assert operations_of(saga) == [("retry", "operator", REASON)]
    assert Actor(name="operator").user is None
