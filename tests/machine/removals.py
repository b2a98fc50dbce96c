"""Take one guarding rule out of the engine, to see that the machine notices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from sagas import barrier, claims, engine, moves, planner
from sagas.barrier import Entry
from sagas.models import BarrierState
from sagas.states import Direction, StepState

from . import stories
from .machine import SagaMachine


@contextmanager
def _record_under_any_token() -> Iterator[None]:
    def record(run: Any, journal: Any, claimed: Any, report: Any) -> Any:
        step = journal.step(claimed.step.name)
        is_back = claimed.direction is Direction.COMPENSATION
        if step.lease_token is not None and is_back == (step.state == StepState.COMPENSATING):
            moves.record(journal, step, claimed.direction, report)
        return claims.claim_next(journal, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)

    with patch.object(engine, "_record_in", record):
        yield


@contextmanager
def _compensate_beside_live_actions() -> Iterator[None]:
    real = planner._plan_backward

    def plan(saga: Any, effects: Any, now: Any) -> Any:
        steps = [step for step in saga.steps if step.state is not StepState.RUNNING]
        return real(dataclasses.replace(saga, steps=tuple(steps)), effects, now)

    with patch.object(planner, "_plan_backward", plan):
        yield


@contextmanager
def _never_reopen() -> Iterator[None]:
    with patch.object(moves, "reopen", lambda journal, step: None):
        yield


@contextmanager
def _share_budgets() -> Iterator[None]:
    real = claims._open

    def open_attempt(journal: Any, step: Any, declared: Any, direction: Direction, worker: str) -> Any:
        used = step.budget_used
        attempt = real(journal, step, declared, direction, worker)
        step.budget_used = used + 1
        return attempt

    with patch.object(claims, "_open", open_attempt):
        yield


@contextmanager
def _ignore_tombstones() -> Iterator[None]:
    def enter(_using: str, row: Any) -> Entry:
        return Entry(is_done=row.state == BarrierState.DONE, result=row.result)

    with patch.object(barrier, "_enter_action", enter):
        yield


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Describe a rule that can be missing."""

    remove: Callable[[], AbstractContextManager[None]]
    """Take it out, inside the block."""
    play: Callable[[SagaMachine], None]
    """Make the moves that end well with the rule, and must be seen to go wrong without."""
    expected: str
    """What must be seen then, as the beginning of a regular expression."""


REMOVALS: Mapping[str, Removal] = {
    "only the live lease token records": Removal(
        remove=_record_under_any_token, play=stories.come_back_late_to_a_local_step, expected="I8|I10|S0"
    ),
    "compensation waits for live actions": Removal(
        remove=_compensate_beside_live_actions, play=stories.turn_back_beside_a_live_action, expected="S3"
    ),
    "a late effect reopens": Removal(remove=_never_reopen, play=stories.act_after_the_end, expected="I4|S0"),
    "budgets are per direction": Removal(remove=_share_budgets, play=stories.try_often_and_turn_back, expected="S1"),
    "a tombstone fences a late action": Removal(
        remove=_ignore_tombstones, play=stories.act_behind_a_tombstone, expected="S0|I10"
    ),
}
