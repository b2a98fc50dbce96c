"""Sagas in every situation, of a definition that has every step kind and changes nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

from django.core.management import ManagementUtility
from django.db import connections

from sagas import Compensatable, OutcomeUnknown, Parallel, Pivot, Retriable, RetryPolicy, SagaDefinition, StepContext
from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.core.states import Direction
from sagas.engine import advance
from sagas.models import Saga
from sagas.testing import drain, faults

ONCE = RetryPolicy(attempts=1, base=0.0, cap=0.0)
REASON = "because the test says so"
WHY = ("--reason", REASON)
# Shorter than a trip's deadline, so that nothing is overdue.
PATIENCE = timedelta(minutes=10)


class NoSeat(Exception):
    """Refusal by the trip's participants."""


@dataclass(frozen=True, kw_only=True)
class TripInput:
    """Name of the traveller."""

    traveller: str


def do_nothing(step: StepContext[TripInput]) -> dict[str, Any]:
    return {"done": step.step}


@contextmanager
def trips() -> Iterator[type[SagaDefinition]]:
    """Register only ``checkout`` and ``trip`` inside the block."""
    with registry.preserved():
        for definition in registry.all_definitions():
            if definition.name != "checkout":
                registry.forget(definition.name, definition.version)
        yield define_trip()


def define_trip(version: int = 1, *, queue: str | None = None) -> type[SagaDefinition]:
    class Trip(SagaDefinition):
        book_flight = Compensatable(do_nothing, do_nothing, participant="sagas", refuses_on=[NoSeat])
        rooms = Parallel(
            book_hotel=Compensatable(do_nothing, do_nothing, participant="sagas", refuses_on=[NoSeat]),
            book_car=Compensatable(do_nothing, do_nothing, participant="sagas", refuses_on=[NoSeat]),
        )
        pay = Pivot(do_nothing, participant="sagas", external=True, refuses_on=[NoSeat], retry=ONCE, queue=queue)
        send_tickets = Retriable(do_nothing, participant="sagas")

        Meta = type(
            "Meta", (), {"name": "trip", "version": version, "input": TripInput, "deadline": timedelta(hours=1)}
        )

    return Trip


def start_trip(number: str = "TRIP-1") -> Saga:
    return advance.start(
        registry.latest("trip"), TripInput(traveller="Ada"), business_keys={"trip": number}, actor="ada"
    )


def completed_trip(number: str = "TRIP-1") -> Saga:
    return drain(start_trip(number), patience=PATIENCE)


def compensated_trip(number: str = "TRIP-1") -> Saga:
    with faults() as fault:
        fault.refuse("book_hotel", NoSeat("full"))
        return drain(start_trip(number), patience=PATIENCE)


def unknown_trip(number: str = "TRIP-1") -> Saga:
    """Return a saga that is held because the payment's outcome is unknown."""
    with faults() as fault:
        fault.refuse("pay", OutcomeUnknown("no answer"))
        return drain(start_trip(number), patience=PATIENCE)


def failing_trip(number: str = "TRIP-1") -> Saga:
    """Return a saga whose compensation keeps failing."""
    with faults() as fault:
        fault.refuse("book_hotel", NoSeat("full"))
        fault.refuse("book_flight", RuntimeError("no answer"), direction=Direction.COMPENSATION, times=10)
        return drain(start_trip(number), patience=PATIENCE)


def close_at(saga: Saga, moment: datetime) -> Saga:
    """Change the time at which a saga was closed."""
    Saga.objects.using(get_settings().database).filter(pk=saga.pk).update(closed_at=moment)
    return read(saga)


def read(saga: Saga) -> Saga:
    return Saga.objects.using(get_settings().database).get(pk=saga.pk)


@dataclass(frozen=True, kw_only=True)
class Done:
    """Result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the printed JSON."""
        return json.loads(self.out)


def run_command(*arguments: object) -> Done:
    """Run a command in this process as ``manage.py`` would, and return its exit code and output."""
    out, err, code = StringIO(), StringIO(), 0
    # A command closes all connections at its end; a test's must stay open, but not those of the command's threads.
    own, close_all = threading.current_thread(), connections.close_all
    connections.close_all = lambda: None if threading.current_thread() is own else close_all()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            ManagementUtility(["manage.py", *map(str, arguments)]).execute()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        connections.close_all = close_all
    return Done(code=code, out=out.getvalue(), err=err.getvalue())
