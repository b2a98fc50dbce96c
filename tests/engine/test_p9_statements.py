"""P9: cost of a saga that completes, in commits and statements."""

from typing import Any

import pytest
from django.db import connection

from sagas import Compensatable, Pivot, Retriable, nothing_to_undo
from sagas.engine import advance
from sagas.models import Saga
from sagas.testing.drain import read

from .boundaries import BEFORE_COMMIT, count_boundaries
from .world import begin, define

pytestmark = pytest.mark.django_db(transaction=True)


def do_nothing(step: Any) -> None:
    """Do nothing, as a step without cost."""


def of_compensatables(count: int) -> dict[str, Any]:
    return {f"s{number}": Compensatable(do_nothing, nothing_to_undo) for number in range(count)}


def of_every_kind(count: int) -> dict[str, Any]:
    """Declare a pivot in the middle."""
    steps: dict[str, Any] = of_compensatables(count)
    for number in range(count):
        if number == count // 2:
            steps[f"s{number}"] = Pivot(do_nothing)
        elif number > count // 2:
            steps[f"s{number}"] = Retriable(do_nothing)
    return steps


def run(saga_of: Any) -> Saga:
    saga = begin(saga_of)
    advance.advance(saga.pk)
    return saga


@pytest.mark.parametrize("steps", [of_compensatables, of_every_kind])
@pytest.mark.parametrize("count", [1, 2, 4, 7, 15])
def test_p9_commits_and_statements_from_start_to_completed(count: int, steps: Any) -> None:
    trip = define(**steps(count))
    statements: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(("SAVEPOINT", "RELEASE SAVEPOINT")):
            statements.append(sql)
        return execute(sql, params, many, context)

    sagas: list[Saga] = []
    with connection.execute_wrapper(note):
        kinds = count_boundaries(lambda: sagas.append(run(trip)))

    assert read(sagas[0].pk).state == "completed"
    assert kinds.count(BEFORE_COMMIT) <= count + 2
    assert len(statements) <= 4 * count + 6, statements


def test_p9_a_wakeup_that_finds_nothing_costs_one_commit_and_two_statements() -> None:
    saga = run(define(**of_compensatables(2)))
    kinds = count_boundaries(lambda: advance.advance(saga.pk))
    assert (len(kinds), kinds.count(BEFORE_COMMIT)) == (4, 1)  # two statements, and a COMMIT with its two sides
