"""Take one guarding rule out of real processes: the test that is there for it must fail, with what it says.

Each ruins a shop of its own, which takes time: in full runs alone (``make chaos``).
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

# What never happens is not waited for as long as what only comes late.
SHORT_PATIENCE_SECONDS = 45.0
NOBODY_BEGAN = "(?s)'status': 'processing'.* pending, started"
LOST_AGAIN = "(?s)'status': 'processing'.* action 5: [^\\n]*\\n *sagas.LostWorker"


@pytest.fixture
def doomed_shop(blueprints: Blueprints, tmp_path: Path) -> Iterator[Shop]:
    """Run a shop that nobody needs any more after the test."""
    with open_shop(blueprints, ONE_DATABASE, tmp_path) as opened:
        yield opened


def impatiently(shop: Shop) -> Shop:
    """Return the same shop for a test that waits for what never happens."""
    return replace(shop, patience_seconds=SHORT_PATIENCE_SECONDS)


def with_web(shop: Shop, rule: str) -> Shop:
    """Return a shop whose web server is without a rule, too."""
    bereft = shop.without(rule)
    _, client = bereft.project.start_web(threads=12)
    return replace(bereft, client=client.log_in("customer", "customer"))


# --- Races ----------------------------------------------------------------------------------------------------------


def test_without_the_lock_of_a_key_a_repeat_meets_an_error(doomed_shop: Shop) -> None:
    with must_fail("assert {.*500"):
        test_races.test_one_key_fifty_times_places_one_order(with_web(doomed_shop, "the lock of a key"))


# --- Clocks, messages, piles ----------------------------------------------------------------------------------------


def test_by_the_clocks_of_their_hosts_workers_are_early(doomed_shop: Shop, marks: Marks) -> None:
    with must_fail("took_too_long"):
        test_wrong_clocks.test_no_lease_is_stolen_and_nothing_tried_early(
            doomed_shop.without("the database's clock"), marks
        )


def test_a_worker_that_takes_more_than_json_runs_what_a_message_holds(doomed_shop: Shop, tmp_path: Path) -> None:
    bereft = doomed_shop.without("JSON alone")
    # Celery itself warns an administrator of this.
    bereft = replace(bereft, project=bereft.project.with_environment(C_FORCE_ROOT="1"))
    with must_fail("assert not True"):
        test_wild_messages.test_messages_of_any_number_order_age_and_form_change_nothing(bereft, tmp_path)


def test_a_worker_of_any_queue_does_what_is_not_its_to_do(doomed_shop: Shop) -> None:
    with must_fail(r"assert \[{'id': "):
        test_wild_messages.test_messages_an_hour_late_in_other_envelopes_and_on_other_queues_change_nothing(
            doomed_shop.without("queues of its own alone")
        )


def test_if_sweeps_always_took_the_oldest_a_worker_would_never_get_behind_poisoned_rows(doomed_shop: Shop) -> None:
    with must_fail(NOBODY_BEGAN):
        test_poisoned_rows.test_worker_finishes_what_stands_behind_poisoned_rows(
            impatiently(doomed_shop.without("those first that were not woken"))
        )


def test_without_sweeps_what_the_broker_refused_is_lost(doomed_shop: Shop) -> None:
    with must_fail(NOBODY_BEGAN):
        test_flaky_broker.test_broker_without_memory_neither_stops_checkouts_nor_workers(
            impatiently(doomed_shop.without("the sweep"))
        )


# --- Workers that die, freeze and end -------------------------------------------------------------------------------


def test_if_a_lost_worker_did_not_count_a_deadly_step_would_kill_for_ever(doomed_shop: Shop, marks: Marks) -> None:
    with must_fail(LOST_AGAIN):
        test_deadly_steps.test_step_that_kills_its_worker_gets_its_attempts_and_no_more(
            impatiently(doomed_shop.without("lost workers counted")), marks
        )


def test_without_the_sweep_of_bulks_nobody_takes_over_from_a_dead_worker(doomed_shop: Shop) -> None:
    with must_fail("still not: .* sagas of the bulk have a result"):
        test_bulk_workers.test_bulk_outlives_its_workers_and_acts_once_on_each_saga(
            impatiently(doomed_shop.without("the sweep of bulks")), False
        )


def test_if_leases_never_ended_nobody_would_take_over_from_a_dead_worker(doomed_shop: Shop, marks: Marks) -> None:
    with must_fail("still not: the sagas of .* are closed"):
        test_killed_workers.test_killed_worker_is_replaced_by_another_one(
            impatiently(doomed_shop.without("the end of a lease")), marks, Moment.BEFORE
        )


def test_a_worker_that_claims_while_it_shuts_down_begins_what_it_was_asked_not_to(
    doomed_shop: Shop, marks: Marks
) -> None:
    with must_fail(r"assert \['succeeded'\] == \[\]"):
        test_stopped_workers.test_terminated_worker_finishes_its_step_and_claims_no_other(
            doomed_shop.without("no claim while shutting down"), marks
        )


@pytest.mark.parametrize("rule", ["the lease token", "evidence of late answers"])
def test_without_a_rule_about_late_answers_what_a_thawed_worker_knows_is_lost(
    doomed_shop: Shop, marks: Marks, rule: str
) -> None:
    with must_fail(r"assert 0 == \(6 - 1\)"):
        test_stopped_workers.test_worker_frozen_beyond_its_lease_changes_nothing_when_resumed(
            doomed_shop.without(rule), marks
        )
