"""Take one guarding rule out of the engine, to see that the machine notices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sagas import barrier, claims, engine, moves, planner
from sagas.barrier import Entry
from sagas.models import BarrierState
from sagas.states import Direction, StepState


@contextmanager
def _record_under_any_token() -> Iterator[None]:
    def record(run: Any, journal: Any, claimed: Any, report: Any) -> Any:
        step = journal.step(claimed.step.name)
        if step.lease_token is None or step.state == StepState.COMPENSATING:
            return None
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
    def enter(_using: str, row: Any, _is_new: bool) -> Entry:
        return Entry(is_done=row.state == BarrierState.DONE, result=row.result)

    with patch.object(barrier, "_enter_action", enter):
        yield


REMOVALS: Mapping[str, tuple[Callable[[], Any], str]] = {
    "only the live lease token records": (_record_under_any_token, "I8|I10|S0"),
    "compensation waits for live actions": (_compensate_beside_live_actions, "S3"),
    "a late effect reopens": (_never_reopen, "I4|S0"),
    "budgets are per direction": (_share_budgets, "S1"),
    "a tombstone fences a late action": (_ignore_tombstones, "S0|I10"),
}
"""By the rule: how to take it out, and what must be found then."""
