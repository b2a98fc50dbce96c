"""Bulks and ``saga_sweep --run``, which does the workers' part."""

from uuid import UUID

import pytest

from sagas.models import Saga
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation

from .cases import REASON, run_command, start_trip

pytestmark = pytest.mark.django_db(databases="__all__")

BOSS = Actor(name="boss", is_trusted=True)


def start_bulk(*sagas: Saga) -> UUID:
    frozen = freezing.freeze_selected(Operation.CANCEL, [saga.pk for saga in sagas], actor=BOSS)
    freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON)
    return frozen.pk


def test_sweep_runs_a_bulk_without_a_broker() -> None:
    saga = start_trip()
    started = start_bulk(saga)

    assert run_command("saga_sweep", "--run").code == 0

    assert Saga.objects.get(pk=saga.pk).state == "compensated"
    assert freezing.read_progress(freezing.find_bulk(started)).counts["done"] == 1


def test_sweep_without_run_only_wakes_a_bulk() -> None:
    started = start_bulk(start_trip())

    assert run_command("saga_sweep").code == 0  # wake-ups only

    assert freezing.read_progress(freezing.find_bulk(started)).ended == 0
    assert freezing.find_bulk(started).woken_at is not None
