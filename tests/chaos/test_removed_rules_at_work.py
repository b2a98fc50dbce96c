"""Removed guarding rules in real processes, one at a time: the test that guards each must fail.

Each ruins its own shop, which takes time, so they run only in full runs (``make chaos``).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.end_to_end import test_killed_workers, test_stopped_workers
from tests.end_to_end.blueprints import ONE_DATABASE, Blueprints
from tests.end_to_end.conftest import open_shop
from tests.end_to_end.shops import Shop
from tests.end_to_end.stops.points import Marks, Moment
from tests.removed import must_fail

from . import (
    test_bulk_workers,
    test_deadly_steps,
    test_flaky_broker,
    test_poisoned_rows,
    test_races,
    test_wild_messages,
    test_wrong_clocks,
)

pytestmark = pytest.mark.full

# What never happens gets a shorter timeout than what only comes late.
SHORT_PATIENCE_SECONDS = 45.0
NEVER_STARTED = "(?s)'status': 'processing'.* pending, started"
LOST_AGAIN = "(?s)'status': 'processing'.* action 5: [^\\n]*\\n *sagas.LostWorker"


@pytest.fixture
def doomed_shop(blueprints: Blueprints, tmp_path: Path) -> Iterator[Shop]:
    """Run a shop that may be ruined."""
    with open_shop(blueprints, ONE_DATABASE, tmp_path) as opened:
        yield opened


def with_short_patience(shop: Shop) -> Shop:
    """Return the same shop with a short timeout."""
    return replace(shop, patience_seconds=SHORT_PATIENCE_SECONDS)


def with_web(shop: Shop, rule: str) -> Shop:
    """Return a shop whose web server lacks the rule too."""
    bereft = shop.without(rule)
    _, client = bereft.project.start_web(threads=12)
    return replace(bereft, client=client.log_in("customer", "customer"))


# --- Races ----------------------------------------------------------------------------------------------------------


def test_without_the_key_lock_a_repeat_gets_an_error(doomed_shop: Shop) -> None:
    with must_fail("assert {.*500"):
        test_races.test_fifty_requests_with_one_key_place_one_order(with_web(doomed_shop, "the lock of a key"))


# --- Clocks, messages, backlogs -------------------------------------------------------------------------------------


def test_with_host_clocks_workers_retry_too_early(doomed_shop: Shop, marks: Marks) -> None:
    with must_fail("took_too_long"):
        test_wrong_clocks.test_no_lease_is_stolen_and_no_retry_is_early(
            doomed_shop.without("the database's clock"), marks
        )


def test_worker_that_accepts_pickle_runs_the_code_in_a_message(doomed_shop: Shop, tmp_path: Path) -> None:
    bereft = doomed_shop.without("JSON alone")
    # Celery itself warns an administrator of this.
    bereft = replace(bereft, project=bereft.project.with_environment(C_FORCE_ROOT="1"))
    with must_fail("assert not True"):
        test_wild_messages.test_duplicate_shuffled_late_and_malformed_messages_change_nothing(bereft, tmp_path)


def test_worker_that_serves_every_queue_executes_steps_of_others(doomed_shop: Shop) -> None:
    with must_fail(r"assert \[{'id': "):
        test_wild_messages.test_messages_an_hour_late_or_misdirected_change_nothing(
            doomed_shop.without("queues of its own alone")
        )


def test_if_sweeps_always_took_the_oldest_a_worker_would_stay_behind_poisoned_rows(doomed_shop: Shop) -> None:
    with must_fail(NEVER_STARTED):
        test_poisoned_rows.test_worker_finishes_sagas_behind_poisoned_rows(
            with_short_patience(doomed_shop.without("those first that were not woken"))
        )


def test_without_sweeps_wakeups_refused_by_the_broker_are_lost(doomed_shop: Shop) -> None:
    with must_fail(NEVER_STARTED):
        test_flaky_broker.test_broker_without_memory_stops_neither_checkouts_nor_workers(
            with_short_patience(doomed_shop.without("the sweep"))
        )


# --- Workers that die, freeze and stop ------------------------------------------------------------------------------


def test_if_lost_workers_did_not_count_a_deadly_step_would_kill_for_ever(doomed_shop: Shop, marks: Marks) -> None:
    with must_fail(LOST_AGAIN):
        test_deadly_steps.test_step_that_kills_its_worker_is_limited_to_its_attempts(
            with_short_patience(doomed_shop.without("lost workers counted")), marks
        )


def test_without_the_bulk_sweep_no_worker_takes_over_from_a_dead_one(doomed_shop: Shop) -> None:
    with must_fail("still not: .* sagas of the bulk have a result"):
        test_bulk_workers.test_bulk_survives_its_workers_and_operates_once_on_each_saga(
            with_short_patience(doomed_shop.without("the sweep of bulks")), False
        )


def test_if_leases_never_ended_no_worker_would_take_over_from_a_dead_one(doomed_shop: Shop, marks: Marks) -> None:
    with must_fail("still not: the sagas of .* are closed"):
        test_killed_workers.test_killed_worker_is_replaced_by_another_one(
            with_short_patience(doomed_shop.without("the end of a lease")), marks, Moment.BEFORE
        )


def test_worker_that_claims_during_shutdown_starts_another_step(doomed_shop: Shop, marks: Marks) -> None:
    with must_fail(r"assert \['succeeded'\] == \[\]"):
        test_stopped_workers.test_terminated_worker_finishes_its_step_and_claims_no_other(
            doomed_shop.without("no claim while shutting down"), marks
        )


@pytest.mark.parametrize("rule", ["the lease token", "evidence of late answers"])
def test_without_a_rule_about_late_answers_a_resumed_workers_results_are_lost(
    doomed_shop: Shop, marks: Marks, rule: str
) -> None:
    with must_fail(r"assert 0 == \(6 - 1\)"):
        test_stopped_workers.test_worker_frozen_beyond_its_lease_changes_nothing_when_resumed(
            doomed_shop.without(rule), marks
        )
