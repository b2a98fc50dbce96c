"""Cross every action with every kind of person and every way to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from sagas import operations
from sagas.actors import Actor
from sagas.models import Saga, SagaAttempt, SagaStep
from sagas.plans import LABELS
from sagas.rules import PERMISSIONS, STEP_OPERATIONS, Operation
from sagas.testing import drain

from . import trips
from .pages import EVIDENCE, LIST, REASON, action_of, deeds_of, form_of, page_of, stored

pytestmark = pytest.mark.django_db

LogIn = Callable[..., Client]
WHERE: dict[Operation, tuple[str, str | None]] = {
    Operation.RETRY: ("waiting_for_retry", None),
    Operation.COMPENSATE: ("unknown", None),
    Operation.SKIP: ("contract_violation", "send_tickets"),
    Operation.MARK_SUCCEEDED: ("held_unknown", "pay"),
    Operation.MARK_REFUSED: ("held_unknown", "pay"),
    Operation.MARK_COMPENSATED: ("compensation_refused", "book_flight"),
    Operation.PAUSE: ("waiting_for_retry", None),
    Operation.RESUME: ("paused", None),
    Operation.CANCEL: ("waiting_for_retry", None),
    Operation.ABANDON: ("compensation_refused", None),
}
OPERATORS_MAY = {Operation.RETRY, Operation.PAUSE, Operation.RESUME, Operation.CANCEL}
MAY = {
    "viewer": set(),
    "operator": OPERATORS_MAY,
    "supervisor": set(Operation),
    "admin": set(Operation),
}


def make(operation: Operation) -> tuple[Saga, str | None]:
    maker, step = WHERE[operation]
    return trips.MAKERS[maker](), step


def fill(saga: Saga, operation: Operation, step: str | None, **changes: Any) -> dict[str, Any]:
    evidence = {"evidence": EVIDENCE} if operation.value.startswith("mark") else {}
    return form_of(saga, step=step or "", **evidence, **changes)


def text_of(response: Any) -> str:
    return unescape(response.content.decode())


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("person", MAY)
def test_only_those_may_act_who_have_the_permission(log_in: LogIn, person: str, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in(person), stored(saga)
    is_allowed = operation in MAY[person]

    page = text_of(client.get(page_of(saga)))
    assert (f'href="{action_of(saga, operation, step)}"' in page) is is_allowed
    if not is_allowed:
        assert f"needs the permission sagas.{PERMISSIONS[operation]}" in page

    shown = client.get(action_of(saga, operation, step))
    assert shown.status_code == (200 if is_allowed else 403)
    assert (f">{LABELS[operation]}</button>" in text_of(shown)) is is_allowed
    assert stored(saga) == before

    posted = client.post(action_of(saga, operation), fill(saga, operation, step))
    assert posted.status_code == (302 if is_allowed else 403)
    if is_allowed:
        assert posted["Location"] == page_of(saga)
        assert deeds_of(saga)[-1] == (operation.value, person, REASON)
    else:
        assert f"lacks the permission sagas.{PERMISSIONS[operation]}" in text_of(posted)
        assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_anonymous_people_are_sent_to_the_log_in(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("anonymous"), stored(saga)

    for response in (
        client.get(action_of(saga, operation, step)),
        client.post(action_of(saga, operation), fill(saga, operation, step)),
        client.get(page_of(saga)),
        client.get(LIST),
    ):
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_staff_without_rights_see_nothing_and_do_nothing(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("staff"), stored(saga)

    assert client.get(LIST).status_code == 403
    assert client.get(page_of(saga)).status_code == 403
    assert client.get(action_of(saga, operation, step)).status_code == 403
    assert client.post(action_of(saga, operation), fill(saga, operation, step)).status_code == 403
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_permission_alone_is_not_enough_without_the_view_permission(log_in: LogIn, operation: Operation) -> None:
    from django.contrib.auth.models import Permission, User

    client = log_in("staff")
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename=PERMISSIONS[operation]))
    saga, step = make(operation)
    before = stored(saga)

    assert client.post(action_of(saga, operation), fill(saga, operation, step)).status_code == 403
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_nothing_happens_without_a_csrf_token(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("admin", enforce_csrf_checks=True), stored(saga)

    assert client.post(action_of(saga, operation), fill(saga, operation, step)).status_code == 403
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_nothing_happens_on_get(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, before = log_in("admin"), stored(saga)

    assert client.get(action_of(saga, operation), fill(saga, operation, step)).status_code == 200
    assert client.head(action_of(saga, operation, step)).status_code == 200
    assert client.put(action_of(saga, operation, step)).status_code == 405
    assert client.delete(action_of(saga, operation, step)).status_code == 405
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("reason", ["", "too short", "x" * 501, " " * 40, "nul \x00 inside the text"])
def test_reason_is_required(log_in: LogIn, operation: Operation, reason: str) -> None:
    saga, step = make(operation)
    client, before = log_in("admin"), stored(saga)

    response = client.post(action_of(saga, operation), fill(saga, operation, step, reason=reason))

    assert response.status_code == 400
    assert "Not done:" in text_of(response)
    assert 'aria-invalid="true"' in text_of(response)
    assert stored(saga) == before


@pytest.mark.parametrize("reason", ["x" * 10, "y" * 500, ("z" * 248 + "\r\n") * 2 + "ab"])
def test_reason_may_be_as_long_as_it_says(log_in: LogIn, reason: str) -> None:
    saga = trips.make_waiting_for_retry()

    response = log_in("operator").post(action_of(saga, Operation.RETRY), form_of(saga, reason=reason))

    assert response.status_code == 302
    assert deeds_of(saga) == [("retry", "operator", reason.replace("\r\n", "\n"))]


@pytest.mark.parametrize("revision", ["", "0", "-1", "1.5", "one", "9" * 30, "9" * 6000, "\x00"])
def test_revision_is_required(log_in: LogIn, revision: str) -> None:
    saga = trips.make_waiting_for_retry()
    client, before = log_in("admin"), stored(saga)

    response = client.post(action_of(saga, Operation.RETRY), form_of(saga, revision=revision))

    assert response.status_code == 400
    assert f'name="revision" value="{saga.revision}"' in text_of(response)
    assert REASON in text_of(response)
    assert stored(saga) == before


@pytest.mark.parametrize("operation", Operation)
def test_stale_plan_does_nothing_and_shows_what_changed(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, form = log_in("admin"), fill(saga, operation, step)
    if operation is Operation.RESUME:
        operations.resume(saga.pk, actor=trips.BOSS, reason="A colleague was faster.")
    else:
        operations.pause(saga.pk, actor=trips.BOSS, reason="A colleague was faster.")
    before = stored(saga)

    response = client.post(action_of(saga, operation), form)

    if operation in (Operation.PAUSE, Operation.RESUME):
        assert response.status_code == 302
        assert re.search(
            r"The saga (is paus|was resum)ed already\.", str(next(iter(get_messages(response.wsgi_request))))
        )
    else:
        assert response.status_code == 409
        assert "What happened since you looked" in text_of(response)
        assert "A colleague was faster." in text_of(response)
    assert stored(saga) == before


def test_stale_form_comes_back_with_the_new_revision_and_the_reason(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()
    client, form = log_in("operator"), form_of(saga)
    operations.pause(saga.pk, actor=trips.BOSS, reason="A colleague was faster.")
    operations.resume(saga.pk, actor=trips.BOSS, reason="And was fast again.")

    response = client.post(action_of(saga, Operation.RETRY), form)

    text, found = text_of(response), Saga.objects.get(pk=saga.pk)
    assert response.status_code == 409
    assert f"is at revision {found.revision}, but the decision was made on {saga.revision}" in text
    assert f'name="revision" value="{found.revision}"' in text
    assert f'name="seen" value="{found.history_count}"' in text
    assert f"{REASON}</textarea>" in text
    assert client.post(action_of(saga, Operation.RETRY), form_of(saga)).status_code == 302


def test_stale_plan_that_became_impossible_is_refused_with_the_difference(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()
    client, form = log_in("operator"), form_of(saga)
    drain(saga)
    before = stored(saga)

    response = client.post(action_of(saga, Operation.RETRY), form)

    assert response.status_code == 409
    assert "The saga is completed; nothing can be done to it any more." in text_of(response)
    assert "saga completed" in text_of(response)
    assert "</textarea>" not in text_of(response)
    assert stored(saga) == before


def test_invalid_and_stale_form_is_answered_as_stale(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()
    client, form = log_in("operator"), form_of(saga, reason="")
    operations.pause(saga.pk, actor=trips.BOSS, reason="A colleague was faster.")

    response = client.post(action_of(saga, Operation.RETRY), form)

    assert response.status_code == 409
    assert "A colleague was faster." in text_of(response)


@pytest.mark.parametrize("operation", Operation)
def test_second_click_does_nothing(log_in: LogIn, operation: Operation) -> None:
    saga, step = make(operation)
    client, form = log_in("admin"), fill(saga, operation, step)
    assert client.post(action_of(saga, operation), form).status_code == 302
    before = stored(saga)

    again = client.post(action_of(saga, operation), form)

    assert stored(saga) == before
    assert len([deed for deed in deeds_of(saga) if deed[0] == operation.value]) == 1
    assert again.status_code == 302
    assert again["Location"] == page_of(saga)
    messages = [str(message) for message in get_messages(again.wsgi_request)]
    assert messages[-1].startswith(("Done already, and only once", "Nothing was done: "))


def test_same_action_by_another_person_is_a_difference_not_a_second_click(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()
    form = form_of(saga)
    assert log_in("supervisor").post(action_of(saga, Operation.RETRY), form).status_code == 302

    response = log_in("operator").post(action_of(saga, Operation.RETRY), form)

    assert response.status_code == 409
    assert len(deeds_of(saga)) == 1


def test_message_is_written_after_the_deed(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()

    client = log_in("operator")

    response = client.post(action_of(saga, Operation.RETRY), form_of(saga), follow=True)

    assert "Done: Due now, with a fresh budget: book_hotel. The saga is running, revision 3." in text_of(response)
    assert 'role="status" aria-live="polite"' in text_of(response)
    assert "The bank is back, see ticket 42." in text_of(client.get(page_of(saga), {"tab": "history"}))


def test_retry_makes_the_step_due(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()

    log_in("operator").post(action_of(saga, Operation.RETRY), form_of(saga))

    assert drain(saga, patience=trips.timedelta(minutes=1)).state == "completed"
    assert SagaAttempt.objects.filter(saga=saga, step__name="book_hotel").count() == 2


def test_force_compensate_turns_back(log_in: LogIn) -> None:
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
def test_step_with_a_live_lease_is_refused_with_until_when(log_in: LogIn, operation: Operation) -> None:
    saga = trips.make_running()
    client, before = log_in("admin"), stored(saga)
    until = SagaStep.objects.get(saga=saga, name="book_hotel").lease_until

    response = client.post(action_of(saga, operation), fill(saga, operation, "book_hotel"))

    assert response.status_code == 409
    assert f"until {until:%Y-%m-%d %H:%M:%S} UTC" in text_of(response)
    assert stored(saga) == before


@pytest.mark.parametrize("operation", sorted(STEP_OPERATIONS))
def test_step_is_chosen_from_those_that_allow_it(log_in: LogIn, operation: Operation) -> None:
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


def test_step_that_no_one_allows_is_said(log_in: LogIn) -> None:
    saga = trips.make_completed()

    response = log_in("admin").get(action_of(saga, Operation.SKIP))

    assert response.status_code == 409
    assert text_of(response).count("The saga is completed; nothing can be done to it any more.") == 4


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
        action_of(saga, Operation.MARK_SUCCEEDED),
        form_of(saga, step="pay", evidence=EVIDENCE, result=result),
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
        action_of(saga, Operation.MARK_SUCCEEDED),
        form_of(saga, step="pay", evidence=EVIDENCE, result=result),
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


def test_plan_is_shown_before_the_reason_is_asked_for(log_in: LogIn) -> None:
    saga = trips.make_unknown()

    text = text_of(log_in("supervisor").get(action_of(saga, Operation.COMPENSATE)))

    assert "The saga compensates: beginning with book_flight, in reverse order." in text
    assert text.index("book_flight</th>") < text.index("book_hotel</th>") < text.index("<textarea")
    assert "external" in text
    assert f'name="revision" value="{saga.revision}"' in text


def test_abandon_shows_what_stays_behind(log_in: LogIn) -> None:
    saga = trips.make_compensation_refused()
    client = log_in("supervisor")

    assert f"{saga.pk}:book_flight" in text_of(client.get(action_of(saga, Operation.ABANDON)))
    client.post(action_of(saga, Operation.ABANDON), form_of(saga))

    page = text_of(client.get(page_of(saga)))
    assert "A person gave the saga up; left behind: book_hotel, book_flight." in page
    assert f"{saga.pk}:book_flight" in page


def test_actor_is_the_person_by_value(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()

    log_in("operator").post(action_of(saga, Operation.RETRY), form_of(saga, actor="somebody else", is_trusted="1"))

    assert deeds_of(saga) == [("retry", "operator", REASON)]
    assert Actor(name="operator").user is None
