"""Concurrent requests, each on a connection of its own."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from sagas.models import Saga
from sagas.operators.preconditions import Operation

from . import trips
from .pages import action_of, form_of, operations_of

pytestmark = pytest.mark.django_db(transaction=True)


def post_together(saga: Saga, operations: list[Operation]) -> list[int]:
    """Post the forms concurrently; all of them were rendered for the same revision."""
    start = Barrier(len(operations))
    user = User.objects.create_superuser("admin")
    clients = [Client() for _ in operations]
    for client in clients:
        client.force_login(user)
    form = form_of(saga)

    def post(place: int) -> int:
        try:
            start.wait(10)
            return clients[place].post(action_of(saga, operations[place]), form).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(operations)) as pool:
        return sorted(pool.map(post, range(len(operations))))


def test_form_sent_three_times_concurrently_acts_once() -> None:
    saga = trips.make_waiting_for_retry()

    assert post_together(saga, [Operation.RETRY] * 3) == [302, 302, 302]

    assert [operation[0] for operation in operations_of(saga)] == ["retry"]
    trips.drain(saga)
    assert Saga.objects.get(pk=saga.pk).state == "completed"


def test_two_operations_on_one_revision_have_one_winner() -> None:
    saga = trips.make_waiting_for_retry()

    assert post_together(saga, [Operation.RETRY, Operation.COMPENSATE]) == [302, 409]

    assert len(operations_of(saga)) == 1
