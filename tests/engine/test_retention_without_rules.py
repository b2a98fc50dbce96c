"""Negative controls of the cleanup: without a rule, the test that covers it fails with its message."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.db.models import QuerySet

from sagas.models import Saga, SagaBarrier
from sagas.retention import purge as retention
from tests.removed import NOT_REFUSED, Control, rewrite

from . import test_retention as kept

pytestmark = pytest.mark.full

Patch = pytest.MonkeyPatch


def delete_recent_sagas(patch: Patch) -> None:
    patch.setattr(
        retention,
        "_select_expired",
        lambda scope: Saga.objects.filter(state__in=[state.value for state in scope.states], closed_at__isnull=False),
    )


def delete_open_sagas(patch: Patch) -> None:
    patch.setattr(retention, "_select_expired", lambda scope: Saga.objects.filter(updated_at__lt=scope.closed_before))
    patch.setattr(retention, "_page", page_by_key)


def accept_any_state(patch: Patch) -> None:
    patch.setattr(retention.Scope, "__post_init__", lambda _scope: None)


def accept_any_size(patch: Patch) -> None:
    patch.setattr(retention, "_check_size", lambda size: size)


def leave_related_rows(patch: Patch) -> None:
    patch.setattr(retention, "DELETE_ORDER", retention.DELETE_ORDER[-1:])


def accept_any_order(patch: Patch) -> None:
    patch.setattr(retention, "_page", page_by_key)


def page_by_timestamp(patch: Patch) -> None:
    def page(rows: Any, moment: str, after: Any, size: int) -> Any:
        rows = rows.filter(**{f"{moment}__gt": after[0]}) if after else rows
        return list(rows.order_by(moment, "pk").values_list(moment, "pk")[:size])

    patch.setattr(retention, "_page", page)


def never_stop(patch: Patch) -> None:
    clean_up = retention.clean_up

    def go_on(*place: Any, should_stop: Any = None, **options: Any) -> Any:
        return clean_up(*place, **options)

    patch.setattr(kept, "clean_up", go_on)


def leave_history_unprotected(patch: Patch) -> None:
    real = retention._limit
    patch.setattr(retention, "_limit", lambda cursor, retention: real(cursor, retention="on"))


def give_up_whole_batch(patch: Patch) -> None:
    def delete(ids: Any, scope: Any, report: Any, archive: Any) -> None:
        try:
            report.sagas += retention._delete_batch(ids, scope, archive)
        except DatabaseError:
            report.failed += ids

    patch.setattr(retention, "_delete_or_halve", delete)


def check_references_at_the_commit(patch: Patch) -> None:
    rewrite(patch, "SET CONSTRAINTS ALL IMMEDIATE", "SELECT 1")


def wait_for_locked_rows(patch: Patch) -> None:
    select = QuerySet.select_for_update
    patch.setattr(QuerySet, "select_for_update", lambda rows, skip_locked=False, **how: select(rows, **how))
    patch.setattr(retention, "LOCK_TIMEOUT", "50ms")


def trust_the_page(patch: Patch) -> None:
    patch.setattr(retention, "_select_expired", lambda _scope: Saga.objects.all())


def expire_each_row_alone(patch: Patch) -> None:
    def select(alias: str) -> Any:
        until = retention.clock.read_now(alias) - retention.get_settings().barrier_retention
        return SagaBarrier.objects.using(alias).filter(created_at__lt=until)

    patch.setattr(retention, "_select_old_barriers", select)


def ignore_running_sagas(patch: Patch) -> None:
    patch.setattr(retention, "_find_needed", lambda _sagas: set())


def page_by_key(rows: Any, _moment: str, after: Any, size: int) -> Any:
    """Return the next page by the key alone, with any timestamp that all rows have."""
    rows = rows.filter(pk__gt=after[1]) if after else rows
    return list(rows.order_by("pk").values_list("created_at", "pk")[:size])


def leave_history_unprotected_after_access_cleanup(patch: Patch) -> None:
    rewrite(patch, "set_config('sagas.retention', 'off', true)", "1")


def with_references(play: Callable[[], None]) -> None:
    """Run beside a foreign table with references to sagas."""
    with kept.foreign_references():
        play()


def archive_with_references(limit: datetime) -> None:
    with TemporaryDirectory() as directory:
        with_references(lambda: POISON.test_kept_sagas_are_not_archived(limit, Path(directory)))


SAGAS, BARRIERS, POISON = kept.TestSagas(), kept.TestBarriers(), kept.TestPoison()

CONTROLS = {
    "only what was closed before the limit": Control(
        remove=delete_recent_sagas,
        play=SAGAS.test_only_sagas_closed_before_the_limit_are_deleted,
        told=r"assert \(3, .* == \(1, ",
    ),
    "only what is closed": Control(
        remove=delete_open_sagas, play=SAGAS.test_open_saga_is_kept_however_old, told="assert 2 == 0"
    ),
    "only closed states can be asked for": Control(
        remove=accept_any_state,
        play=lambda limit: SAGAS.test_open_states_are_refused(set(kept.OPEN_STATES), limit),
        told=NOT_REFUSED,
    ),
    "batches of at most a thousand": Control(
        remove=accept_any_size, play=lambda limit: SAGAS.test_batch_size_is_limited(1001, limit), told=NOT_REFUSED
    ),
    "children first": Control(
        remove=leave_related_rows,
        play=SAGAS.test_all_rows_of_a_saga_are_deleted_and_none_of_another,
        told=r"SagaStep'>: 5} != ",
    ),
    "oldest first": Control(
        remove=accept_any_order, play=SAGAS.test_batches_run_oldest_first, told=r"assert \[\(2, 1\)"
    ),
    "the key beside the moment": Control(
        remove=page_by_timestamp, play=SAGAS.test_sagas_closed_at_the_same_time_are_not_skipped, told="assert 2 == 5"
    ),
    "asked between batches whether to stop": Control(
        remove=never_stop,
        play=SAGAS.test_cleanup_stops_between_batches_when_asked,
        told=r"assert \(3, False\) == \(1, True\)",
    ),
    "history is closed again": Control(
        remove=leave_history_unprotected, play=SAGAS.test_history_is_protected_again_after_the_cleanup, told=NOT_REFUSED
    ),
    "history is closed again after looks": Control(
        remove=leave_history_unprotected_after_access_cleanup,
        play=SAGAS.test_history_is_protected_again_after_the_cleanup,
        told=NOT_REFUSED,
    ),
    "halves of a batch that fails": Control(
        remove=give_up_whole_batch,
        play=lambda limit: with_references(lambda: POISON.test_undeletable_row_does_not_stop_the_rest(3, limit)),
        told="assert 0 == 4",
    ),
    "others are asked before the archive": Control(
        remove=check_references_at_the_commit, play=archive_with_references, told="assert .* == "
    ),
    "the youngest row of a key": Control(
        remove=expire_each_row_alone,
        play=BARRIERS.test_rows_of_a_key_are_deleted_together_once_the_youngest_is_old,
        told="assert 3 == 2",
    ),
    "rows of a saga that may still ask": Control(
        remove=ignore_running_sagas,
        play=BARRIERS.test_saga_that_may_still_run_keeps_its_barrier_rows,
        told=r"assert set\(\) == {",
    ),
}

CONCURRENT = {
    "what is held is passed over": Control(
        remove=wait_for_locked_rows,
        play=kept.TestConcurrency().test_locked_saga_is_skipped,
        told=r"assert \(1, \[UUID\(.*\]\) == \(1, \[\]\)",
    ),
    "asked again under the lock": Control(
        remove=trust_the_page,
        play=kept.TestConcurrency().test_saga_that_reopens_meanwhile_is_kept,
        told="assert 1 == 0",
    ),
}


@pytest.fixture(autouse=True)
def _trips() -> Iterator[None]:
    with kept.trips():
        yield


@pytest.fixture
def limit() -> datetime:
    """Return a date in the past."""
    return kept.a_month_ago()


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("rule", CONTROLS)
def test_without_a_rule_of_the_cleanup_its_test_fails(rule: str, limit: datetime) -> None:
    # Without its rule, a test breaks invariants, too.
    before = transaction.savepoint()
    with pytest.MonkeyPatch.context() as patch:
        CONTROLS[rule].fail_without(patch, limit)
    transaction.savepoint_rollback(before)


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("rule", CONCURRENT)
def test_without_a_rule_of_concurrency_its_test_fails(rule: str, limit: datetime) -> None:
    with pytest.MonkeyPatch.context() as patch:
        CONCURRENT[rule].fail_without(patch, limit)
