"""Explorer on local steps: tries only what can happen to them, and each commits once."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.db.models import F
from django.test.utils import isolate_apps

from sagas import Compensatable, OutcomeUnknown, Pivot, Retriable, RetryLater, SagaDefinition, StepContext
from sagas.core.definition import registry
from sagas.core.states import Direction
from sagas.engine.advance import start
from sagas.models import Saga, SagaBarrier
from sagas.testing import Scenario, assert_explored, drain, explore, explorer, faults
from sagas.testing.trials import enumerate_trials

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

# As in the README: its models, its bank and its saga.
with isolate_apps():

    class Flight(models.Model):  # noqa: DJ008 - as in the README
        free_seats = models.PositiveIntegerField()

        class Meta:
            app_label = "trips"

    class Trip(models.Model):  # noqa: DJ008
        flight = models.ForeignKey(Flight, on_delete=models.PROTECT)
        seats = models.PositiveIntegerField()
        status = models.CharField(max_length=10, default="pending")

        class Meta:
            app_label = "trips"


class SoldOut(Exception):
    """The flight has not that many seats."""


class Declined(Exception):
    """The bank said no, and took nothing."""


class Bank:
    """Bank that honours idempotency keys."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()

    def charge(self, seats: int, *, key: str) -> None:
        if seats > 4:
            raise Declined("Too much for this card.")
        self.taken[key] = seats


@dataclass(frozen=True)
class TripInput:
    """References only: everything else is read from its owner."""

    trip: int


bank = Bank()
Context = StepContext[TripInput]


def hold_seats(step: Context) -> dict[str, Any]:
    trip = Trip.objects.get(pk=step.input.trip)
    flight = Flight.objects.filter(pk=trip.flight_id, free_seats__gte=trip.seats)
    if not flight.update(free_seats=F("free_seats") - trip.seats):
        raise SoldOut(f"Flight {trip.flight_id} has not {trip.seats} seats.")
    return {"seats": trip.seats}


def free_seats(step: Context) -> None:
    trip = Trip.objects.get(pk=step.input.trip)
    Flight.objects.filter(pk=trip.flight_id).update(free_seats=F("free_seats") + trip.seats)


def pay(step: Context) -> None:
    try:
        bank.charge(step.results["hold_seats"]["seats"], key=step.provider_key)
    except ConnectionRefusedError as error:
        raise RetryLater(str(error)) from error
    except TimeoutError as error:
        raise OutcomeUnknown(str(error)) from error


def confirm_trip(step: Context) -> None:
    Trip.objects.filter(pk=step.input.trip).update(status="confirmed")


def cancel_trip(step: Context) -> None:
    Trip.objects.filter(pk=step.input.trip).update(status="cancelled")


def pay_without_key(step: Context) -> None:
    """Mistake: charges again with every call."""
    bank.taken[step.provider_key] += 2


def charge_in_a_local_step(step: Context) -> dict[str, Any]:
    """Mistake: an external call declared local, which no rollback undoes."""
    bank.taken[f"{step.provider_key}-deposit"] += 1
    return hold_seats(step)


def define_trip(**other: Callable[[Context], Any]) -> type[SagaDefinition]:
    steps: dict[str, Callable[[Context], Any]] = {"hold_seats": hold_seats, "free_seats": free_seats, "pay": pay}
    steps |= other

    class TripSaga(SagaDefinition):
        """Book a trip whole, or not at all."""

        place_trip = Compensatable(compensation=cancel_trip)
        hold_seats = Compensatable(steps["hold_seats"], steps["free_seats"], refuses_on=[SoldOut])
        pay = Pivot(steps["pay"], external=True, refuses_on=[Declined])
        confirm_trip = Retriable(confirm_trip)

        class Meta:
            name = "readme-trip"
            version = 1
            input = TripInput
            deadline = timedelta(minutes=10)

    return TripSaga


def make_scenario(definition: type[SagaDefinition]) -> Scenario:
    def start_trip() -> Saga:
        with transaction.atomic():
            trip = Trip.objects.create(flight=Flight.objects.create(free_seats=9), seats=2)
            return start(definition, TripInput(trip=trip.pk), business_keys={"trip": str(trip.pk)})

    def look(saga: Saga) -> Mapping[str, int]:
        trip = Trip.objects.select_related("flight").get(pk=saga.input["trip"])
        taken = sum(count for key, count in bank.taken.items() if key.startswith(str(saga.pk)))
        confirmed = int(trip.status == "confirmed")
        return {"seats held": 9 - trip.flight.free_seats, "taken": taken, "confirmed": confirmed}

    return Scenario(definition=definition, start=start_trip, look=look)


def keep_trials(
    monkeypatch: pytest.MonkeyPatch, scenario: Scenario, is_meant: Callable[[explorer.Trial], bool]
) -> None:
    kept = [trial for trial in enumerate_trials(scenario) if is_meant(trial)]
    assert kept
    monkeypatch.setattr(explorer, "enumerate_trials", lambda _scenario: iter(kept))


@pytest.fixture
def _trips() -> Iterator[None]:
    bank.__init__()  # type: ignore[misc]
    with registry.preserved():
        with connection.schema_editor() as editor:
            editor.create_model(Flight)
            editor.create_model(Trip)
        try:
            yield
        finally:
            with connection.schema_editor() as editor:
                editor.delete_model(Trip)
                editor.delete_model(Flight)


@pytest.mark.usefixtures("_trips")
def test_readme_saga_ends_correctly_under_every_fault() -> None:
    exploration = assert_explored(make_scenario(define_trip()))

    assert exploration.wrong == ()
    assert exploration.baseline == {"seats held": 2, "taken": 2, "confirmed": 1}
    twice = {(v.trial.step, v.trial.direction.value) for v in exploration.verdicts if v.trial.fault == "runs twice"}
    assert twice == {("pay", "action")}
    rolled_back = [v.trial.step for v in exploration.verdicts if v.trial.fault == "rolled back once"]
    assert rolled_back == ["hold_seats", "confirm_trip", "hold_seats", "place_trip"]


@pytest.mark.parametrize(
    ("mistake", "found_by"),
    [
        ({"pay": pay_without_key}, "runs twice"),
        ({"hold_seats": charge_in_a_local_step}, "dies after"),
        ({"hold_seats": charge_in_a_local_step}, "rolled back once"),
    ],
)
@pytest.mark.usefixtures("_trips")
def test_mistake_beside_local_steps_is_found(
    mistake: dict[str, Callable[[Context], Any]], found_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = make_scenario(define_trip(**mistake))
    keep_trials(monkeypatch, scenario, lambda trial: trial.fault == found_by)

    exploration = explore(scenario)

    assert next(iter(mistake)) in {verdict.trial.step for verdict in exploration.wrong}


@pytest.mark.usefixtures("_trips")
def test_run_twice_rolls_back_the_first_run_of_a_local_function() -> None:
    scenario = make_scenario(define_trip())

    with faults() as fault:
        fault.run_twice()
        saga = drain(scenario.start())

    assert saga.state == "completed"
    assert scenario.look(saga) == {"seats held": 2, "taken": 2, "confirmed": 1}


# A participant with its own database keeps the barrier row where the effect is.
called: Counter[str] = Counter()


def ship(step: StepContext[None]) -> None:
    called[step.key] += 1


def define_in_other_database(*, ships_outside: bool = False) -> Scenario:
    class Apart(SagaDefinition):
        ship = Compensatable(ship, ship_back, participant="inventory", refuses_on=[SoldOut])
        settle = Pivot(do_nothing, external=True, participant="sagas", refuses_on=[SoldOut], refusal_settles=True)

        class Meta:
            name = "explored-apart"

    def look(saga: Saga) -> Mapping[str, int]:
        if ships_outside:
            return {"shipped": called[f"{saga.pk}:ship"]}
        rows = SagaBarrier.objects.using("inventory").filter(key=f"{saga.pk}:ship", state="done")
        return {"shipped": 1 if {row.direction for row in rows} == {"action"} else 0}

    return Scenario(definition=Apart, start=lambda: start(Apart), look=look)


def ship_back(step: StepContext[None]) -> None:
    called[step.key] = 0


def do_nothing(step: StepContext[None]) -> None:
    """Do nothing, as an action without an effect."""


@pytest.fixture
def _other_database(inventory_alias: str) -> Iterator[None]:
    called.clear()
    with registry.preserved():
        yield


@pytest.mark.usefixtures("_other_database")
def test_local_step_in_another_database_ends_correctly_under_every_fault() -> None:
    exploration = assert_explored(define_in_other_database())

    tried = {(v.trial.fault, v.trial.direction.value) for v in exploration.verdicts if v.trial.step == "ship"}
    assert {("late answer", "action"), ("late call", "action"), ("late call, then dies", "action"),
            ("undone meanwhile", "action"), ("late answer", "compensation")} <= tried  # fmt: skip
    assert {("dies before its commit", way) for way in ("action", "compensation")} <= tried
    assert not {fault for fault, _ in tried} & {"runs twice", "answer lost once", "nothing to undo"}


@pytest.mark.usefixtures("_other_database")
def test_external_call_in_a_local_step_of_another_database_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = define_in_other_database(ships_outside=True)
    keep_trials(monkeypatch, scenario, lambda trial: trial.step == "ship" and trial.direction is Direction.ACTION)

    exploration = explore(scenario)

    assert {verdict.trial.fault for verdict in exploration.wrong} == {"dies before its commit", "rolled back once"}


@pytest.mark.usefixtures("_other_database")
def test_overtaken_local_step_in_another_database_runs_once() -> None:
    scenario = define_in_other_database()
    [trial] = [
        t for t in enumerate_trials(scenario) if (t.step, t.direction, t.fault) == ("ship", "action", "late answer")
    ]
    saga = scenario.start()

    with faults() as planted:
        trial.plant(planted, saga)
        saga = drain(saga)

    assert (saga.state, called[f"{saga.pk}:ship"]) == ("completed", 1)
