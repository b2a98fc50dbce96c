"""Take one rule of sweeps and budgets away: the test that is there for it must fail, with what it says."""

from dataclasses import replace

import pytest

from sagas.core import outcomes
from sagas.core.states import Direction
from tests.removed import must_fail, rewrite

from . import test_s1_retries, test_s9_continuation
from .test_s1_retries import away  # noqa: F401 - a fixture
from .world import World, define

pytestmark = [pytest.mark.full, pytest.mark.django_db(databases="__all__"), pytest.mark.usefixtures("inventory_apart")]


def test_if_a_sweep_took_the_youngest_first_a_pile_would_stand_on_its_head(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(monkeypatch, "ORDER BY woken_at NULLS FIRST, due_at", "ORDER BY woken_at NULLS FIRST, due_at DESC")
    with must_fail(r"assert \[UUID\("):
        test_s9_continuation.test_s9_the_sweep_goes_oldest_first_a_page_at_a_time(define(a=world.compensatable()))


def test_if_a_wakeup_were_not_written_down_every_sweep_would_send_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(monkeypatch, "(woken_at IS NULL OR woken_at <= ", "(TRUE OR woken_at <= ")
    with must_fail(r"assert \[UUID\(.*\)\] == \[\]"):
        test_s9_continuation.test_s9_a_due_saga_is_woken_at_most_once_per_interval(define(a=world.compensatable()))


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("external", [False, True])
def test_if_what_never_began_counted_a_participant_that_is_away_would_burn_the_budget(
    world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, external: bool
) -> None:
    left: list[int] = request.getfixturevalue("away")
    report = outcomes.faultless
    monkeypatch.setattr(outcomes, "faultless", lambda error, **how: replace(report(error, **how), is_counted=True))
    with must_fail("assert 'compensated' == "):
        test_s1_retries.test_s1_an_unreachable_database_burns_no_attempt(world, left, external, Direction.ACTION)
    # It gave up before the database was back.
    assert left[0] > 0
    left[0] = 0
