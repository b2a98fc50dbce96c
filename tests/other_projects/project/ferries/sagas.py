"""Saga of a crossing: local and external steps, a group, a pivot that can refuse, a slow step."""

import time
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F

from sagas import Compensatable, InProgress, Parallel, Pivot, Retriable, RetryLater, SagaDefinition, nothing_to_undo

from .models import Crossing, Deal, Ferry

LONG = timedelta(hours=1)
CLEANING_SECONDS = 0.3


class FullyBooked(Exception):
    """Refusal: the ferry does not have that many places."""


class Declined(Exception):
    """Refusal: the bank declined and took nothing."""


@dataclass(frozen=True)
class CrossingInput:
    """Crossing."""

    crossing: int
    note: str


def hold_places(step):
    crossing = Crossing.objects.get(pk=step.input.crossing)
    ferry = Ferry.objects.filter(pk=crossing.ferry_id, free_places__gte=crossing.places)
    if not ferry.update(free_places=F("free_places") - crossing.places):
        raise FullyBooked(f"Ferry {crossing.ferry_id} has not {crossing.places} places.")
    return {"places": crossing.places, "cabin": "cabin-7"}


def free_places(step):
    crossing = Crossing.objects.get(pk=step.input.crossing)
    Ferry.objects.filter(pk=crossing.ferry_id).update(free_places=F("free_places") + crossing.places)


def load_cars(step):
    change(step, cars_on_board=1)


def unload_cars(step):
    change(step, cars_on_board=0)


def cook_meals(step):
    change(step, meals=step.results["hold_places"]["places"])


def give_meals_away(step):
    change(step, meals=0)


def reserve_berth(step):
    if trouble_of(step) == "port":
        raise InProgress("The port has not decided yet.", poll_after=LONG)
    make_deal(step, "berth")


def cancel_berth(step):
    Deal.objects.filter(key=step.key).update(is_open=False)


def pay(step):
    if trouble_of(step) == "bank":
        raise RetryLater("The bank is closed for an hour.", after=LONG)
    if trouble_of(step) == "declined":
        raise Declined("The bank says no.")
    make_deal(step, "payment")


def confirm(step):
    change(step, status="confirmed")


class CrossingSaga(SagaDefinition):
    """Saga that books a crossing."""

    hold_places = Compensatable(hold_places, free_places, refuses_on=[FullyBooked])
    prepare = Parallel(
        load_cars=Compensatable(load_cars, unload_cars), cook_meals=Compensatable(cook_meals, give_meals_away)
    )
    reserve_berth = Compensatable(reserve_berth, cancel_berth, external=True)
    pay = Pivot(pay, external=True, refuses_on=[Declined])
    confirm = Retriable(confirm)

    class Meta:
        name = "crossing"
        version = 1
        input = CrossingInput
        deadline = timedelta(days=7)


def clean(step):
    """Pause between reading and writing, so that other steps are recorded meanwhile."""
    ferry = Ferry.objects.get(pk=step.input.ferry)
    time.sleep(CLEANING_SECONDS)
    Ferry.objects.filter(pk=ferry.pk).update(is_clean=True)


def refuel(step):
    ferry = Ferry.objects.get(pk=step.input.ferry)
    return {"was_clean": ferry.is_clean}


@dataclass(frozen=True)
class CareInput:
    """Ferry."""

    ferry: int


class CareSaga(SagaDefinition):
    """Saga that maintains a ferry: parallel local steps, one of which is slower."""

    care = Parallel(
        clean=Compensatable(clean, nothing_to_undo),
        **{f"refuel_{number}": Compensatable(refuel, nothing_to_undo) for number in range(3)},
    )
    leave = Compensatable(refuel, nothing_to_undo)

    class Meta:
        name = "care"
        version = 1
        input = CareInput


def trouble_of(step):
    return Crossing.objects.get(pk=step.input.crossing).trouble


def change(step, **values):
    """Read, then write: the transaction's reads must not make the engine's writes fail."""
    crossing = Crossing.objects.get(pk=step.input.crossing)
    Crossing.objects.filter(pk=crossing.pk).update(**values)


def make_deal(step, what):
    Deal.objects.get_or_create(key=step.provider_key, defaults={"what": what})
