"""Enumeration of a path: disturb it at every point, recover, and check the ledgers."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from zlib import crc32

from django.db import Error, close_old_connections

from sagas import OperationRefused, clock
from tests.depth import IS_FULL

from .children import Child, count_points, kill_at
from .points import Event, Failure, watching

Case = TypeVar("Case")
SHARES = 5  # this many runs would take all points of the shop's paths


@dataclass(frozen=True, kw_only=True)
class Path(Generic[Case]):
    """Action of a process, and what must be true however it ends."""

    name: str
    """Name in the printed counts."""
    prepare: Callable[[], Case]
    """Create a new case for a point, up to the start of the path."""
    run: Callable[[Case], object]
    """Run the path, which is what is disturbed."""
    recover: Callable[[Case], object]
    """Recover after a crash: the client's or operator's repeat, other workers, time."""
    judge: Callable[[Case], list[str]]
    """Return the problems in the end."""
    least: int
    """Lower bound of its points: fewer mean that some are no longer seen."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Result of disturbing a path at one point."""

    point: int
    what: str
    """Next event of the process."""
    problems: list[str]

    def __str__(self) -> str:
        return f"before {self.point} ({self.what}): {'; '.join(self.problems)}"


def map_points(path: Path[Any]) -> tuple[str, ...]:
    """Return the points of a path after one undisturbed run, which must end correctly.

    The undisturbed run also fills what Python keeps between runs, so that every child sends the same statements.
    """
    with clock.restored():
        case = path.prepare()
        path.run(case)
        problems = settle(path, case)
    assert problems == [], f"{path.name} ends wrong undisturbed: {problems}"
    with clock.restored():
        case = path.prepare()
        points = count_points(lambda: path.run(case))
    assert len(points) >= path.least, f"{path.name} has {len(points)} points, it had {path.least}: {points}"
    return points


def kill_everywhere(path: Path[Any], points: tuple[str, ...], numbers: Iterable[int]) -> Iterator[Verdict]:
    """Kill a process at each of the given points, with a new case each time."""
    for number in numbers:
        with clock.restored():
            case = path.prepare()
            kill_at(lambda case=case: path.run(case), number)
            problems = settle(path, case)
        yield Verdict(point=number, what=points[number - 1], problems=problems)


def freeze_everywhere(path: Path[Any], points: tuple[str, ...], numbers: Iterable[int]) -> Iterator[Verdict]:
    """Freeze a process at each of the given points, recover without it, resume it, and recover again."""
    for number in numbers:
        with clock.restored():
            case = path.prepare()
            child = Child.start(lambda case=case: path.run(case), freezes_at=number)
            child.wait_until_frozen()
            problems = _recover(path, case)
            child.thaw(clock.shift_seconds())
            ending = child.wait_for_end()
            if ending.error and not ending.is_database_error:
                problems = [*problems, f"the late process ended with {ending.error}"]
            problems = [*problems, *settle(path, case)]
        yield Verdict(point=number, what=points[number - 1], problems=problems)


def fail_everywhere(
    path: Path[Any],
    failures: Sequence[Failure],
    matches: Callable[[Event], bool],
    *,
    part: int = 0,
    parts: int = 1,
    in_every_way: bool = False,
) -> Iterator[Verdict]:
    """Let each matching event of a path fail, one after the other.

    This process continues afterwards, as a worker or web server would. With several failures each event meets one in
    turn or, ``in_every_way``, all of them.
    Raises: AssertionError when an event of the undisturbed run is not reached.
    """
    count = count_events(path, matches)
    chosen = [(number, failures[number // parts % len(failures)]) for number in range(part + 1, count + 1, parts)]
    if in_every_way:
        chosen = [(number, failure) for number in range(part + 1, count + 1, parts) for failure in failures]
    for number, failure in chosen:
        trap = _Trap(number, failure, matches)
        with clock.restored():
            case = path.prepare()
            problems = []
            with watching(trap.visit):
                try:
                    path.run(case)
                except (Error, OperationRefused):
                    pass  # reported to the caller: a client, an operator, the log of a worker
                except AssertionError as error:
                    problems = [str(error)]
            assert trap.caught is not None, f"{path.name}: event {number} of {count} was not met"
            problems = [*problems, *settle(path, case)]
        yield Verdict(point=number, what=f"{trap.caught}, {failure.name}", problems=problems)


def count_events(path: Path[Any], matches: Callable[[Event], bool]) -> int:
    """Count the matching events of a path in its second undisturbed run, as the first fills Python's caches."""
    counts = []
    for _ in range(2):
        trap = _Trap(0, Failure.DROPPED, matches)
        with clock.restored():
            case = path.prepare()
            with watching(trap.visit):
                path.run(case)
            problems = settle(path, case)
        assert problems == [], f"{path.name} ends wrong undisturbed: {problems}"
        counts.append(trap.seen)
    return counts[-1]


def settle(path: Path[Any], case: Any) -> list[str]:
    """Recover, and check the result.

    Returns: what is wrong; also when recovery itself fails.
    """
    close_old_connections()
    return _recover(path, case) or path.judge(case)


def slice_of(points: tuple[str, ...], part: int = 0, parts: int = 1) -> range:
    """Return every ``parts``-th point, from 1, so that the parts together have each point once."""
    return range(1 + part, len(points) + 1, parts)


def share_of(path: Path[Any], numbers: Sequence[int]) -> Sequence[int]:
    """Return all points in full mode, and else a fifth of them: the same in every run, but irregular.

    The shop's paths, and the engine's own on four databases, repeat what the engine's own paths on one database show
    point by point, so a fifth of them is enough between two full runs.
    """
    if IS_FULL:
        return numbers
    drawn = sorted(numbers, key=lambda number: crc32(f"{path.name} {number}".encode()))
    return sorted(drawn[: math.ceil(len(drawn) / SHARES)])


class _Trap:
    """Failure of the n-th matching event, once; none for 0. ``seen``: matching events until then."""

    def __init__(self, number: int, failure: Failure, matches: Callable[[Event], bool]) -> None:
        self.caught: Event | None = None
        self.seen = 0
        self._number = number
        self._failure = failure
        self._matches = matches

    def visit(self, event: Event) -> Failure | None:
        if self.caught is not None or not self._matches(event):
            return None
        self.seen += 1
        if self.seen != self._number:
            return None
        self.caught = event
        return self._failure


def _recover(path: Path[Any], case: Any) -> list[str]:
    try:
        path.recover(case)
    except AssertionError as error:
        return [f"recovery failed: {error}"]
    return []
