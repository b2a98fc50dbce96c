"""Helpers that freeze bulks, start them and read their results."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from sagas import clock
from sagas.models import Saga, SagaBulk, SagaBulkItem
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing, runner
from sagas.operators.preconditions import Operation

from .acting import BOSS, PAUSE
from .world import World, begin, define, events

COMMITS = pytest.mark.django_db(databases="__all__", transaction=True)
REASON = "The provider is back, see ticket 42."


def make(world: World, count: int = 3) -> list[Saga]:
    """Start sagas that no worker has processed."""
    trip = define(a=world.compensatable(), b=world.compensatable())
    return [begin(trip) for _ in range(count)]


def freeze(sagas: list[Saga], operation: Operation = PAUSE, actor: Actor = BOSS) -> SagaBulk:
    return freezing.freeze_selected(operation, [saga.pk for saga in sagas], actor=actor)


def freeze_and_start(sagas: list[Saga], operation: Operation = PAUSE, actor: Actor = BOSS) -> SagaBulk:
    frozen = freeze(sagas, operation, actor)
    count = frozen.total if frozen.total > 100 else None
    found, is_new = freezing.start_bulk(frozen.pk, actor=actor, reason=REASON, count=count)
    assert is_new
    return found


def run_to_end(bulk_id: UUID) -> SagaBulk:
    """Run workers and advance the clock until the bulk is over."""
    with clock.restored():
        for _ in range(200):
            runner.advance(bulk_id)
            found = freezing.find_bulk(bulk_id)
            if found.is_over:
                return found
            clock.move(timedelta(seconds=40))  # longer than any lease
    raise AssertionError("The bulk never ended.")


def results_of(bulk_id: UUID) -> list[str | None]:
    items = SagaBulkItem.objects.filter(bulk_id=bulk_id).order_by("position")
    return list(items.values_list("result", flat=True))


def operations_of(saga: Saga) -> list[tuple[str, str | None, Any]]:
    return [(row.to_state, row.actor, row.data.get("bulk")) for row in events(saga, "operator_acted")]


def holds_of(sagas: list[Saga]) -> list[str | None]:
    found = dict(Saga.objects.values_list("pk", "hold"))
    return [found[saga.pk] for saga in sagas]
