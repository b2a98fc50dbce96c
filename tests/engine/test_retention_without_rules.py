"""Take one rule of the cleanup away at a time: the test that is there for it must fail, with what it says."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
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


def delete_young_ones(patch: Patch) -> None:
    patch.setattr(
        retention,
        "_select_expired",
        lambda scope: Saga.objects.filter(state__in=[state.value for state in scope.states], closed_at__isnull=False),
    )


def delete_open_ones(patch: Patch) -> None:
    patch.setattr(retention, "_select_expired", lambda scope: Saga.objects.filter(updated_at__lt=scope.closed_before))
    patch.setattr(retention, "_page", page_by_key)


def ask_for_any_state(patch: Patch) -> None:
    patch.setattr(retention.Scope, "__post_init__", lambda _scope: None)


def take_any_size(patch: Patch) -> None:
    patch.setattr(retention, "_check_size", lambda size: size)


def leave_what_belongs_to_it(patch: Patch) -> None:
    patch.setattr(retention, "DELETE_ORDER", retention.DELETE_ORDER[-1:])


def take_any_order(patch: Patch) -> None:
    patch.setattr(retention, "_page", page_by_key)


def go_on_behind_the_moment(patch: Patch) -> None:
    def page(rows: Any, moment: str, after: Any, size: int) -> Any:
        rows = rows.filter(**{f"{moment}__gt": after[0]}) if after else rows
        return list(rows.order_by(moment, "pk").values_list(moment, "pk")[:size])

    patch.setattr(retention, "_page", page)


def never_stop(patch: Patch) -> None:
    clean_up = retention.clean_up

    def go_on(*place: Any, should_stop: Any = None, **options: Any) -> Any:
        return clean_up(*place, **options)

    patch.setattr(kept, "clean_up", go_on)


def leave_history_open(patch: Patch) -> None:
    real = retention._limit
    patch.setattr(retention, "_limit", lambda cursor, retention: real(cursor, retention="on"))


def give_up_a_batch_whole(patch: Patch) -> None:
    def delete(ids: Any, scope: Any, report: Any, archive: Any) -> None:
        try:
            report.sagas += retention._delete_batch(ids, scope, archive)
        except DatabaseError:
            report.failed += ids

    patch.setattr(retention, "_delete_or_halve", delete)


def ask_others_at_the_commit(patch: Patch) -> None:
    rewrite(patch, "SET CONSTRAINTS ALL IMMEDIATE", "SELECT 1")


def wait_for_what_is_held(patch: Patch) -> None:
    select = QuerySet.select_for_update
    patch.setattr(QuerySet, "select_for_update", lambda rows, skip_locked=False, **how: select(rows, **how))
    patch.setattr(retention, "LOCK_TIMEOUT", "50ms")


def trust_the_page(patch: Patch) -> None:
    patch.setattr(retention, "_select_expired", lambda _scope: Saga.objects.all())


def look_at_each_row_alone(patch: Patch) -> None:
    def select(alias: str) -> Any:
        until = retention.clock.read_now(alias) - retention.get_settings().barrier_retention
        return SagaBarrier.objects.using(alias).filter(created_at__lt=until)

    patch.setattr(retention, "_select_old_barriers", select)


def ask_nobody_who_needs_it(patch: Patch) -> None:
    patch.setattr(retention, "_find_needed", lambda _sagas: set())


def page_by_key(rows: Any, _moment: str, after: Any, size: int) -> Any:
    """Return the next page by the key alone; the moment is any that all rows have."""
    rows = rows.filter(pk__gt=after[1]) if after else rows
    return list(rows.order_by("pk").values_list("created_at", "pk")[:size])


def leave_history_open_after_looks(patch: Patch) -> None:
    rewrite(patch, "set_config('sagas.retention', 'off', true)", "1")


SAGAS, BARRIERS, POISON = kept.TestSagas(), kept.TestBarriers(), kept.TestPoison()

CONTROLS = {
    "only what was closed before the limit": Control(
        remove=delete_young_ones,
        play=lambda limit, _: SAGAS.test_only_those_closed_before_the_limit_go(limit),
        told=r"assert \(3, .* == \(1, ",
    ),
    "only what is closed": Control(
        remove=delete_open_ones,
        play=lambda limit, _: SAGAS.test_an_open_saga_stays_however_old_it_is(limit),
        told="assert 2 == 0",
    ),
    "only closed states can be asked for": Control(
        remove=ask_for_any_state,
        play=lambda limit, _: SAGAS.test_an_open_state_cannot_even_be_asked_for(set(kept.OPEN_STATES), limit),
        told=NOT_REFUSED,
    ),
    "batches of at most a thousand": Control(
        remove=take_any_size, play=lambda limit, _: SAGAS.test_a_batch_is_small(1001, limit), told=NOT_REFUSED
    ),
    "children first": Control(
        remove=leave_what_belongs_to_it,
        play=lambda limit, _: SAGAS.test_everything_of_a_saga_goes_and_nothing_of_another(limit),
        told=r"SagaStep'>: 5} != ",
    ),
    "oldest first": Control(
        remove=take_any_order,
        play=lambda limit, _: SAGAS.test_batches_follow_one_another_oldest_first(limit),
        told=r"assert \[\(2, 1\)",
    ),
    "the key beside the moment": Control(
        remove=go_on_behind_the_moment,
        play=lambda limit, _: SAGAS.test_sagas_closed_at_the_same_moment_are_not_passed_over(limit),
        told="assert 2 == 5",
    ),
    "asked between batches whether to stop": Control(
        remove=never_stop,
        play=lambda limit, _: SAGAS.test_it_stops_between_batches_when_asked(limit),
        told=r"assert \(3, False\) == \(1, True\)",
    ),
    "history is closed again": Control(
        remove=leave_history_open,
        play=lambda limit, _: SAGAS.test_history_cannot_be_deleted_after_it_either(limit),
        told=NOT_REFUSED,
    ),
    "history is closed again after looks": Control(
        remove=leave_history_open_after_looks,
        play=lambda limit, _: SAGAS.test_history_cannot_be_deleted_after_it_either(limit),
        told=NOT_REFUSED,
    ),
    "halves of a batch that fails": Control(
        remove=give_up_a_batch_whole,
        play=lambda limit, _: poisoned(lambda: POISON.test_a_row_that_cannot_go_does_not_stop_the_rest(3, limit)),
        told="assert 0 == 4",
    ),
    "others are asked before the archive": Control(
        remove=ask_others_at_the_commit,
        play=lambda limit, path: poisoned(lambda: POISON.test_what_stays_is_not_in_the_archive(limit, path)),
        told="assert .* == ",
    ),
    "the youngest row of a key": Control(
        remove=look_at_each_row_alone,
        play=lambda limit, _: BARRIERS.test_rows_of_one_key_go_together_when_the_youngest_is_old(limit),
        told="assert 3 == 2",
    ),
    "rows of a saga that may still ask": Control(
        remove=ask_nobody_who_needs_it,
        play=lambda limit, _: BARRIERS.test_a_saga_that_may_still_ask_keeps_its_rows(limit),
        told=r"assert set\(\) == {",
    ),
}

SIDE_BY_SIDE = {
    "what is held is passed over": Control(
        remove=wait_for_what_is_held,
        play=lambda limit, _: kept.TestSideBySide().test_a_saga_that_somebody_holds_is_passed_over(limit),
        told=r"assert \(1, \[UUID\(.*\]\) == \(1, \[\]\)",
    ),
    "asked again under the lock": Control(
        remove=trust_the_page,
        play=lambda limit, _: kept.TestSideBySide().test_a_saga_that_reopens_meanwhile_stays(limit),
        told="assert 1 == 0",
    ),
}


@pytest.fixture(autouse=True)
def _trips() -> Iterator[None]:
    with kept.trips():
        yield


@pytest.fixture
def limit() -> datetime:
    """Return a moment in the past."""
    return kept.a_month_ago()


def poisoned(play: Callable[[], None]) -> None:
    """Play beside a table of somebody else."""
    with kept.claims_of_others():
        play()


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("rule", CONTROLS)
def test_without_a_rule_of_the_cleanup_its_test_fails(rule: str, limit: datetime, tmp_path: Path) -> None:
    # What a test does without its rule breaks invariants, too.
    before = transaction.savepoint()
    with pytest.MonkeyPatch.context() as patch:
        CONTROLS[rule].fail_without(patch, limit, tmp_path)
    transaction.savepoint_rollback(before)


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("rule", SIDE_BY_SIDE)
def test_without_a_rule_against_others_its_test_fails(rule: str, limit: datetime, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        SIDE_BY_SIDE[rule].fail_without(patch, limit, tmp_path)
