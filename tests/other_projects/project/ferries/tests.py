"""The project's own tests of its saga, with the engine's test kit and real commits."""

import os

from django.test import TestCase, TransactionTestCase

from sagas.testing import assert_invariants, drain, faults

from .models import Crossing, Deal
from .views import book_crossing


class CrossingTests(TestCase):
    databases = "__all__" if os.environ.get("FOREIGN_SETTING") == "engine_database" else {"default"}

    def test_crossing_is_confirmed(self):
        with faults() as fault:
            fault.lose_answer("pay")
            saga, crossing = book_crossing()
            saga = drain(saga)
        assert saga.state == "completed"
        assert Crossing.objects.get(pk=crossing.pk).status == "confirmed"
        assert_invariants(saga.pk)

    def test_declined_crossing_is_undone(self):
        saga, crossing = book_crossing("declined")
        saga = drain(saga)
        crossing.refresh_from_db()
        assert (saga.state, crossing.ferry.free_places, crossing.meals) == ("compensated", 9, 0)
        assert not Deal.objects.filter(is_open=True).exists()


class CommittedCrossingTests(TransactionTestCase):
    databases = CrossingTests.databases

    def test_crossing_is_confirmed(self):
        saga, _ = book_crossing()
        assert drain(saga).state == "completed"
