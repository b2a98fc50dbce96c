"""Breadth-first search of all reachable states, so that the first violation has the shortest trace."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from .invariants import check_limbo, check_move, check_state
from .protocol import moves
from .rows import Model, State, is_held, start


class Result(NamedTuple):
    """Outcome of a search."""

    states: int
    transitions: int
    violation: str = ""
    trace: tuple[str, ...] = ()
    ends: frozenset[str] = frozenset()
    """States of sagas that cannot continue by themselves."""
    samples: tuple[State, ...] = ()

    def __str__(self) -> str:
        """Return the statistics, or the violation with its trace."""
        statistics = f"{self.states} states, {self.transitions} transitions"
        if not self.violation:
            return f"{statistics}, no violation"
        steps = [f"  {number}. {label}" for number, label in enumerate(self.trace, 1)]
        return "\n".join([f"{self.violation} ({statistics})", *steps])


def explore(model: Model, *, only: tuple[str, ...] = (), sample_every: int = 0) -> Result:
    """Search until every state is visited or something is wrong; ``only``: the invariants to check (default: all)."""
    first = start(model)
    known: dict[State, int] = {first: 0}
    order = [first]
    parents = array("l", [-1])
    labels = [""]
    transitions = 0
    edges = array("l")
    ends: set[str] = set()
    place = 0
    while place < len(order):
        state = order[place]
        kinds: set[str] = set()
        for move in moves(model, state):
            if move.state == state:
                continue
            kinds.add(move.kind)
            transitions += 1
            following = known.get(move.state)
            wrong = _choose(check_move(model, state, move), only)
            if following is None:
                following = known[move.state] = len(order)
                order.append(move.state)
                parents.append(place)
                labels.append(move.label)
                wrong = wrong or _choose(check_state(model, move.state), only)
            edges.extend((place, following))
            if wrong:
                trace = (*_trace(parents, labels, place), move.label)
                return Result(len(order), transitions, wrong, trace)
        if wrong := _choose(check_limbo(model, state, kinds), only):
            return Result(len(order), transitions, wrong, _trace(parents, labels, place))
        if "step" not in kinds:
            ends.add(f"{state.saga.state}, held" if is_held(state.saga) else state.saga.state)
        place += 1
    if _has_cycle(len(order), edges):
        return Result(len(order), transitions, "a cycle: some path never ends")
    samples = tuple(order[::sample_every]) if sample_every else ()
    return Result(len(order), transitions, ends=frozenset(ends), samples=samples)


def _choose(found: Iterator[str], only: tuple[str, ...]) -> str:
    return next((text for text in found if not only or text.startswith(only)), "")


def _trace(parents: array[int], labels: list[str], place: int) -> tuple[str, ...]:
    steps = []
    while place > 0:
        steps.append(labels[place])
        place = parents[place]
    return tuple(reversed(steps))


def _has_cycle(count: int, edges: array[int]) -> bool:
    """Return whether some path leads back to its start (Kahn's algorithm)."""
    degrees = array("l", bytes(8 * count))
    following: list[list[int]] = [[] for _ in range(count)]
    for source, target in zip(edges[::2], edges[1::2], strict=True):
        degrees[target] += 1
        following[source].append(target)
    free = [place for place in range(count) if not degrees[place]]
    taken = 0
    while free:
        taken += 1
        for target in following[free.pop()]:
            degrees[target] -= 1
            if not degrees[target]:
                free.append(target)
    return taken < count
