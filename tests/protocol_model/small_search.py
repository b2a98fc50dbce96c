"""Breadth-first search of a small model: all reachable states, and the shortest way to what is wrong."""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

StateT = TypeVar("StateT", bound=Hashable)


class Move(NamedTuple, Generic[StateT]):
    """Step to another state."""

    label: str
    state: StateT
    is_fault: bool = False
    """Whether nothing may rely on it: a crash, a loss, an operator."""


class Found(NamedTuple):
    """Outcome of a search."""

    states: int
    violation: str = ""
    trace: tuple[str, ...] = ()


def search(
    start: StateT,
    moves: Callable[[StateT], Iterable[Move[StateT]]],
    find_wrong: Callable[[StateT], str],
    find_unfinished: Callable[[StateT], str],
) -> Found:
    """Visit every state until something is wrong; ``find_unfinished`` judges those that only faults leave."""
    parents: dict[StateT, tuple[StateT, str] | None] = {start: None}
    waiting = [start]
    for state in waiting:
        is_stuck = True
        for move in moves(state):
            is_stuck &= move.is_fault
            if move.state not in parents:
                parents[move.state] = (state, move.label)
                waiting.append(move.state)
                if wrong := find_wrong(move.state):
                    return Found(len(parents), wrong, _trace(parents, move.state))
        if is_stuck and (wrong := find_unfinished(state)):
            return Found(len(parents), wrong, _trace(parents, state))
    return Found(len(parents))


def _trace(parents: dict[StateT, tuple[StateT, str] | None], state: StateT) -> tuple[str, ...]:
    labels = []
    while (before := parents[state]) is not None:
        state, label = before
        labels.append(label)
    return tuple(reversed(labels))
