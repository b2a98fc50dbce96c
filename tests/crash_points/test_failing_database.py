"""F10: lost answers to COMMIT, lost COMMITs, and a deadlock or a terminating server at every statement.

The process lives on and has to decide what happened, by looking and never by repeating blindly.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sagas import SagaDefinition
from tests.depth import IS_FULL

from . import bare_paths, checkouts, operators
from .databases import each_on
from .enumeration import SHARES, Path, Verdict, fail_everywhere
from .points import Event, Failure, Kind, call_outside
from .shop import Shopper

Check = Callable[..., None]
PARTS = 2


def is_commit(event: Event) -> bool:
    """Match every COMMIT."""
    return event.is_commit


def is_statement(event: Event) -> bool:
    """Match every statement that Django sends."""
    return event.kind is Kind.STATEMENT


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Matching events and their failures; each event meets one of them in turn, and in full mode all."""

    name: str
    failures: tuple[Failure, ...]
    chosen: Callable[[Event], bool]


COMMITS = (
    Disturbance(name="answer to COMMIT lost", failures=(Failure.ANSWER_LOST,), chosen=is_commit),
    Disturbance(name="COMMIT lost", failures=(Failure.DROPPED,), chosen=is_commit),
)
STATEMENTS = (
    Disturbance(name="deadlock or conflict", failures=(Failure.DEADLOCK, Failure.SERIALIZATION), chosen=is_statement),
    Disturbance(name="session ended", failures=(Failure.SHUTDOWN,), chosen=is_statement),
)
EVERY_WAY = (*COMMITS, *STATEMENTS)


def fail(path: Path[Any], disturbance: Disturbance, *, part: int = 0, parts: int = 1) -> Iterator[Verdict]:
    """Let each matching event fail."""
    failures, chosen = disturbance.failures, disturbance.chosen
    return fail_everywhere(path, failures, chosen, part=part, parts=parts, in_every_way=IS_FULL)


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_event_that_is_no_longer_reached_is_an_error() -> None:
    runs = iter([3, 3, 3, 1])

    def run(_case: None) -> None:
        for _ in range(next(runs)):
            call_outside("gateway", "authorize", lambda: None)

    path: Path[None] = Path(
        name="a shrinking path", prepare=lambda: None, run=run, recover=lambda _: None, judge=lambda _: [], least=1
    )
    verdicts = fail_everywhere(path, (Failure.DROPPED,), lambda event: event.kind is Kind.CALL)

    assert next(verdicts).point == 1
    with pytest.raises(AssertionError, match="event 2 of 3 was not met"):
        list(verdicts)


def fail_in_every_way(path: Path[Any], check: Check, disturbances: Iterable[Disturbance], *, parts: int = 1) -> None:
    """Let each event of a path, or every n-th, fail in each of its ways."""
    for disturbance in disturbances:
        check(path, disturbance.name, fail(path, disturbance, parts=parts))


@each_on("path", one=[checkouts.REQUEST], full=[checkouts.REQUEST, operators.CANCEL_REQUEST])
def test_request_is_answered_or_asked_to_be_repeated(databases: int, path: Path[Shopper], check: Check) -> None:
    fail_in_every_way(path, check, EVERY_WAY, parts=1 if IS_FULL else SHARES)


@each_on("way", four=["forward"], full=list(bare_paths.WAYS))
def test_unprotected_participants_see_no_duplicate(
    databases: int, bare_saga: type[SagaDefinition], way: str, check: Check
) -> None:
    fail_in_every_way(bare_paths.WAYS[way](bare_saga), check, EVERY_WAY, parts=1 if IS_FULL else SHARES)


if IS_FULL:

    @each_on("path", full=[*operators.PATHS, *operators.SECOND_PATHS, *operators.FURTHER_PATHS])
    def test_operation_is_atomic(databases: int, path: Path[operators.Case], check: Check) -> None:
        fail_in_every_way(path, check, EVERY_WAY)

    @each_on("path", full=[checkouts.FORWARD, checkouts.BACKWARD])
    def test_checkout_survives_every_lost_commit(databases: int, path: Path[Shopper], check: Check) -> None:
        fail_in_every_way(path, check, COMMITS)

    @pytest.mark.parametrize("part", range(PARTS))
    @pytest.mark.parametrize("disturbance", STATEMENTS, ids=lambda disturbance: disturbance.name)
    @each_on("path", full=[checkouts.FORWARD, checkouts.BACKWARD])
    def test_checkout_survives_every_failed_statement(
        databases: int, path: Path[Shopper], disturbance: Disturbance, part: int, check: Check
    ) -> None:
        check(path, disturbance.name, fail(path, disturbance, part=part, parts=PARTS))
