"""Queries that are compiled once: they read what Django reads, and lock nothing outside of a transaction."""

import pytest
from django.db.models import Model
from django.db.transaction import TransactionManagementError

from sagas import OutcomeUnknown
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.models import Saga, SagaAttempt, SagaStep

from .world import World, work


def values_of(row: Model) -> dict[str, object]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


@pytest.mark.django_db(databases="__all__")
def test_rows_are_read_as_django_reads_them(world: World) -> None:
    world.will("b", OutcomeUnknown("lost"))
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable(external=True)))
    work(world.begin("other", a=world.compensatable()))

    unit = SagaUnitOfWork.lock(saga.pk, checks_session=True)

    assert values_of(unit.saga) == values_of(Saga.objects.get(pk=saga.pk))
    steps = SagaStep.objects.filter(saga_id=saga.pk).order_by("position")
    assert list(map(values_of, unit.steps)) == list(map(values_of, steps))
    attempts = SagaAttempt.objects.filter(saga_id=saga.pk).order_by("id")
    assert list(map(values_of, unit.attempts())) == list(map(values_of, attempts))
    assert (len(unit.steps), len(unit.attempts())) == (2, 2)
    assert unit.saga._state.db == "default"
    assert not unit.saga._state.adding


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_nothing_is_locked_outside_of_a_transaction(world: World) -> None:
    saga = world.begin(a=world.compensatable())

    with pytest.raises(TransactionManagementError):
        SagaUnitOfWork.lock(saga.pk)
