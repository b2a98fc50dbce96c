"""Versions of one saga, as old and new releases declare them.

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
    """Refusal of the pivot."""


@dataclass(frozen=True, kw_only=True)
class ParcelInput:
    """Location of the gate, and whether the pivot refuses."""

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
    """Do nothing, successfully."""


def decide(step: Step) -> None:
    """Refuse if the input says so."""
    if step.input.is_refused:
        raise NotToday("The input says so.")


def declare_first() -> None:
    """Declare the first version."""

    class ParcelSaga(SagaDefinition):
        """Saga that packs and sends."""

        pack = Compensatable(pack, pack, queue="parcels-by-hand")
        decision = Pivot(decide, refuses_on=[NotToday])
        send = Retriable(pass_by)

        class Meta:
            name = NAME
            version = 1
            input = ParcelInput


def declare_second() -> None:
    """Declare the second version."""

    class InsuredParcelSaga(SagaDefinition):
        """Saga that packs, insures and sends."""

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
    """Start this number of sagas of each version at each gate, every other one to be refused.

    Prints: their ids, by gate and version.
    """
    with transaction.atomic():
        started = {gate: {version: _start(version, count, gate) for version in VERSIONS} for gate in gates}
    sys.stdout.write(json.dumps(started, default=str))


def _start(version: int, count: int, gate: str) -> list[Any]:
    definition = registry.get(NAME, version)
    inputs = [ParcelInput(gate=gate, is_refused=bool(number % 2)) for number in range(count)]
    return [advance.start(definition, given).pk for given in inputs]
