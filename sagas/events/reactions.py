"""Total tables of reactions: what a participant does about each event in each of its states.

A table is data, so a test can cross every state with every event. Pure: no Django import.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from .declaration import type_of
from .errors import ContractViolated, NotYet

Reaction = Callable[[Any, Any], None]


class Cell(Enum):
    """Reactions that are no function."""

    RECORDED = "-"
    """The inbox has recorded it; there is nothing else to do."""
    NOT_YET = "not yet"
    """What it builds on has not arrived: it is tried again."""
    VIOLATION = "!"
    """Its sender may not send it now: it is parked for an operator."""


Table = Mapping[str, Mapping[type, Cell | Reaction]]


def react(table: Table, state: str, row: Any, event: Any) -> None:
    """Do what the table says about an event; functions of the table get the row and the event.

    Raises: NotYet; ContractViolated; KeyError when the table is not total.
    """
    reaction = table[state][type(event)]
    if reaction is Cell.RECORDED:
        return
    declared = type_of(type(event))
    what = f"{declared.name} of {declared.key_of(event)} arrived while it is {state!r} here"
    if reaction is Cell.NOT_YET:
        raise NotYet(f"{what}: it builds on an event that has not arrived.")
    if reaction is Cell.VIOLATION:
        raise ContractViolated(
            f"{what}, where its sender must not send it. It changed nothing. Find out why it was sent, put right what"
            " it tells, then discard it."
        )
    reaction(row, event)
