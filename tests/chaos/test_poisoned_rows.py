"""F14: sagas that cannot progress stand at the head of every sweep; those behind them still run."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest

from sagas import clock
from sagas.conf import get_settings
from sagas.models import Saga
from sagas.worker import sweeper
from tests.commands.cases import start_trip, trips
from tests.end_to_end.shops import Shop
from tests.processes import FAST_ENGINE, Process

from .breaking import ask_valkey

# Enough to fill every page of all the sweeps within a wake-up interval.
POISONED, PAGE = 10, 2
SWEEPS_IN_AN_INTERVAL = 2

POISON = """
    CREATE FUNCTION refuse_poisoned() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'This row cannot be written.'; END $$;
    CREATE TRIGGER poisoned BEFORE UPDATE OF state ON sagas_saga FOR EACH ROW
    WHEN (OLD.id = ANY('{%s}'::uuid[])) EXECUTE FUNCTION refuse_poisoned()"""
CURE = "DROP TRIGGER poisoned ON sagas_saga; DROP FUNCTION refuse_poisoned()"


@pytest.mark.django_db(databases="__all__")
def test_changed_saga_is_woken_before_those_that_wakeups_do_not_advance() -> None:
    with trips(), clock.restored():
        poisoned = {start_trip(f"poisoned-{number}").pk for number in range(POISONED)}
        behind = start_trip("behind")
        seen: list[set[object]] = []
        for _ in range(POISONED):
            seen.append({saga.id for saga in sweeper.claim_due(limit=PAGE)})
            # As after an attempt, which is due again at once.
            Saga.objects.filter(pk=behind.pk).update(woken_at=None)
            clock.move(get_settings().wakeup_interval / SWEEPS_IN_AN_INTERVAL + timedelta(milliseconds=1))

        first = next((number for number, page in enumerate(seen) if behind.pk in page), None)
        assert first == POISONED // PAGE
        assert all(behind.pk in page for page in seen[first:])
        # The others get their turn too.
        assert set().union(*seen) == poisoned | {behind.pk}


def test_worker_finishes_sagas_behind_poisoned_rows(quiet_shop: Shop) -> None:
    poisoned = [quiet_shop.place() for _ in range(POISONED)]
    with poison(quiet_shop, poisoned):
        behind = [quiet_shop.place(), quiet_shop.place("pm_card_timeout_once"), quiet_shop.place("pm_card_declined")]
        # Only sweeps can find them.
        ask_valkey(quiet_shop.broker, "FLUSHALL")
        worker = start_worker_with_small_sweeps(quiet_shop)

        for number, status in zip(behind, ("confirmed", "confirmed", "cancelled"), strict=True):
            quiet_shop.wait_for(number, status)
        assert {quiet_shop.client.get_order(number)["saga"]["state"] for number in poisoned} == {"pending"}

    for number in poisoned:
        quiet_shop.wait_for(number, "confirmed")
    assert worker.is_running
    quiet_shop.assert_ledgers_balance()


@contextmanager
def poison(shop: Shop, numbers: Sequence[str]) -> Iterator[None]:
    """Make the database refuse every update of these orders' sagas."""
    with psycopg.connect(shop.project.environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(POISON % ",".join(shop.saga_of(number) for number in numbers))
        try:
            yield
        finally:
            connection.execute(CURE)


def start_worker_with_small_sweeps(shop: Shop) -> Process:
    """Start a worker whose sweeps wake few sagas at once."""
    project = shop.project.with_environment(SAGAS=json.dumps({**FAST_ENGINE, "SWEEP_PAGE": PAGE}))
    shop.workers.append(project.start_worker("narrow"))
    return shop.workers[-1]
