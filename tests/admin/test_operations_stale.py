"""Operation pages: a form works once, and only on the revision it was rendered for."""

import re

import pytest
from django.contrib.messages import get_messages

from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.preconditions import Operation
from sagas.testing import drain

from . import trips
from .operating import fill, make
from .pages import REASON, LogIn, action_of, form_of, operations_of, page_of, stored, text_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("operation", Operation)
def test_stale_form_does_nothing_and_shows_what_changed(log_in: LogIn, operation: Operation) -> None:
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
            r"The saga (is already paus|was already resum)ed\.", str(next(iter(get_messages(response.wsgi_request))))
        )
    else:
        assert response.status_code == 409
        assert "What has happened since then" in text_of(response)
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
    assert f"is at revision {found.revision}, but the decision was based on {saga.revision}" in text
    assert f'name="revision" value="{found.revision}"' in text
    assert f'name="seen" value="{found.history_count}"' in text
    assert f"{REASON}</textarea>" in text
    assert client.post(action_of(saga, Operation.RETRY), form_of(saga)).status_code == 302


def test_stale_form_is_refused_with_the_difference_if_no_longer_possible(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()
    client, form = log_in("operator"), form_of(saga)
    drain(saga)
    before = stored(saga)

    response = client.post(action_of(saga, Operation.RETRY), form)

    assert response.status_code == 409
    assert "The saga is completed; no operation is possible any more." in text_of(response)
    assert "saga completed" in text_of(response)
    assert "</textarea>" not in text_of(response)
    assert stored(saga) == before


def test_form_both_invalid_and_stale_is_answered_as_stale(log_in: LogIn) -> None:
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
    assert len([entry for entry in operations_of(saga) if entry[0] == operation.value]) == 1
    assert again.status_code == 302
    assert again["Location"] == page_of(saga)
    messages = [str(message) for message in get_messages(again.wsgi_request)]
    assert messages[-1].startswith(("Already done, and only once", "Nothing was done: "))


def test_same_operation_by_another_user_is_a_change_not_a_second_click(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()
    form = form_of(saga)
    assert log_in("supervisor").post(action_of(saga, Operation.RETRY), form).status_code == 302

    response = log_in("operator").post(action_of(saga, Operation.RETRY), form)

    assert response.status_code == 409
    assert len(operations_of(saga)) == 1
