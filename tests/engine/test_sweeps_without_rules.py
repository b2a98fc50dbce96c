"""Negative controls of sweeps and budgets: without a rule, the test that covers it fails."""

from dataclasses import replace

import pytest

from sagas.core import outcomes
from sagas.core.states import Direction
from tests.removed import must_fail, rewrite

from . import test_s1_retries, test_s9_continuation
from .test_s1_retries import away  # noqa: F401 - a fixture
from .world import World, define

pytestmark = [pytest.mark.full, pytest.mark.django_db(databases="__all__"), pytest.mark.usefixtures("inventory_alias")]


def test_if_the_sweep_took_the_newest_first_its_order_test_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(monkeypatch, "ORDER BY woken_at NULLS FIRST, due_at", "ORDER BY woken_at NULLS FIRST, due_at DESC")
    with must_fail(r"assert \[UUID\("):
        test_s9_continuation.test_s9_the_sweep_goes_oldest_first_a_page_at_a_time(define(a=world.compensatable()))


def test_if_wakeups_were_not_stored_every_sweep_would_send_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(monkeypatch, "(woken_at IS NULL OR woken_at <= ", "(TRUE OR woken_at <= ")
    with must_fail(r"assert \[UUID\(.*\)\] == \[\]"):
        test_s9_continuation.test_s9_a_due_saga_is_woken_at_most_once_per_interval(define(a=world.compensatable()))


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("external", [False, True])
def test_if_unstarted_calls_counted_an_unreachable_participant_would_spend_the_budget(
    world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, external: bool
) -> None:
    left: list[int] = request.getfixturevalue("away")
    report = outcomes.faultless
    monkeypatch.setattr(outcomes, "faultless", lambda error, **how: replace(report(error, **how), is_counted=True))
    with must_fail("assert 'compensated' == "):
        test_s1_retries.test_s1_an_unreachable_database_spends_no_attempt(world, left, external, Direction.ACTION)
    # The saga compensated before the database was back.
    assert left[0] > 0
    left[0] = 0
