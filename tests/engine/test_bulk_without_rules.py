"""Negative controls of bulks: without a rule, the test that covers it fails with its message."""

from typing import Any

import pytest
from django.db import transaction

from sagas.models import SagaBulk, SagaBulkItem
from sagas.operators import operations
from sagas.operators.bulk import runner
from tests.removed import Control

from . import test_bulk_crashes, test_bulk_execution
from .world import World

pytestmark = pytest.mark.full

Patch = pytest.MonkeyPatch


def act_under_any_lease(patch: Patch) -> None:
    patch.setattr(runner, "_lock_leased", lambda lease: SagaBulk.objects.select_for_update().get(pk=lease.bulk_id))


def act_on_any_revision(patch: Patch) -> None:
    patch.setattr(operations, "check_revision", lambda _work, _revision: None)


def write_results_after_the_commit(patch: Patch) -> None:
    save = SagaBulkItem.save

    def save_later(item: SagaBulkItem, **options: Any) -> None:
        transaction.on_commit(lambda: save(item, **options))

    patch.setattr(SagaBulkItem, "save", save_later)


CONTROLS = {
    "the lease token": Control(
        remove=act_under_any_lease,
        play=test_bulk_execution.test_worker_that_lost_its_lease_does_nothing_more,
        told="assert 3 == 0",
    ),
    "the revision": Control(
        remove=act_on_any_revision,
        play=lambda world, _: test_bulk_execution.test_saga_changed_by_a_colleague_is_stale_and_untouched(world),
        told=r"assert \['done', .* == \['stale', ",
    ),
}
CRASHES = {
    "the result in the commit of the action": Control(
        remove=write_results_after_the_commit,
        play=lambda world, _: test_bulk_crashes.test_bulk_ends_correctly_after_a_crash_at_any_boundary(world, "cut"),
        told="cut at .*, after COMMIT",
    ),
}


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("rule", CONTROLS)
def test_without_a_rule_of_bulks_its_test_fails(world: World, rule: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        CONTROLS[rule].fail_without(patch, world, patch)


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("rule", CRASHES)
def test_without_a_rule_against_deaths_its_test_fails(world: World, rule: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        CRASHES[rule].fail_without(patch, world, patch)
