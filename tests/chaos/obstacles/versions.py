"""Declare the versions of one saga that a process's code has, as old and new releases do.

Each version has a step in a queue that the other code does not know, and each saga may wait at a gate: on its way
forward, or, where it is refused, on its way back.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction

from sagas import Compensatable, InProgress, Pivot, Retriable, SagaDefinition, StepContext, nothing_to_undo
from sagas.core.definition import registry
from sagas.core.states import Direction
from sagas.engine import advance

NAME = "chaos-parcel"


class NotToday(Exception):
    """Refuse the pivot."""


@dataclass(frozen=True, kw_only=True)
class ParcelInput:
    """Where the gate is, and whether the pivot refuses."""

    gate: str
    """Path of a file: while it is missing the saga waits; empty where it never does."""
    is_refused: bool


Step = StepContext[ParcelInput]


def pack(step: Step) -> None:
    """Wait at the gate: on the way back where there is one, else on the way forward.

    Raises: InProgress while the gate is closed.
    """
    is_here = step.input.is_refused == (step.direction is Direction.COMPENSATION)
    if is_here and step.input.gate and not Path(step.input.gate).exists():
        raise InProgress("The gate is closed.")


def pass_by(_step: Step) -> None:
    """Do nothing, well."""


def decide(step: Step) -> None:
    """Refuse where the input says so."""
    if step.input.is_refused:
        raise NotToday("The input says so.")


def declare_first() -> None:
    """Declare what every release had so far."""

    class ParcelSaga(SagaDefinition):
        """Pack and send."""

        pack = Compensatable(pack, pack, queue="parcels-by-hand")
        decision = Pivot(decide, refuses_on=[NotToday])
        send = Retriable(pass_by)

        class Meta:
            name = NAME
            version = 1
            input = ParcelInput


def declare_second() -> None:
    """Declare what a new release brings."""

    class InsuredParcelSaga(SagaDefinition):
        """Pack, insure and send."""

        pack = Compensatable(pack, pack)
        insure = Compensatable(pass_by, nothing_to_undo, queue="parcels-insured")
        decision = Pivot(decide, refuses_on=[NotToday])
        send = Retriable(pass_by)

        class Meta:
            name = NAME
            version = 2
            input = ParcelInput


VERSIONS = {1: declare_first, 2: declare_second}


def declare(versions: str) -> None:
    """Declare the versions that the environment names, such as ``1,2``."""
    for version in filter(None, versions.split(",")):
        VERSIONS[int(version)]()


def start(count: int, *gates: str) -> None:
    """Start so many sagas of each version at each gate, every other one to be refused.

    Prints: their ids, by gate and version.
    """
    with transaction.atomic():
        started = {gate: {version: _start(version, count, gate) for version in VERSIONS} for gate in gates}
    sys.stdout.write(json.dumps(started, default=str))


def _start(version: int, count: int, gate: str) -> list[Any]:
    definition = registry.get(NAME, version)
    inputs = [ParcelInput(gate=gate, is_refused=bool(number % 2)) for number in range(count)]
    return [advance.start(definition, given).pk for given in inputs]
