"""Negative controls of the machine: each removes one rule of the engine."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from django.db import IntegrityError

from sagas import clock
from sagas.conf import get_settings
from sagas.core import budgets, outcomes, planner
from sagas.core.planner import Plan
from sagas.core.states import PASSED_STATES, Direction, Hold, SagaState, StepState
from sagas.engine import advance, claim, late_answers, settle, step_transitions
from sagas.engine.claim import ClaimResult
from sagas.models import BarrierState, SagaBarrier
from sagas.participants import barrier
from sagas.participants.barrier import Entry
from sagas.retention import purge

from . import scenarios
from .machine import SagaMachine

Removed = AbstractContextManager[Any]


def _record_under_any_token() -> Removed:
    def record(run: Any, work: Any, claimed: Any, report: Any) -> Any:
        step = work.step(claimed.step.name)
        is_back = claimed.direction is Direction.COMPENSATION
        if step.lease_token is not None and is_back == (step.state == StepState.COMPENSATING):
            step_transitions.record(work, step, claimed.direction, report)
        return claim.claim_next(work, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)

    return patch.object(advance, "_record_in", record)


def _compensate_beside_live_actions() -> Removed:
    real = planner._plan_backward

    def plan(saga: Any, effects: Any, now: Any) -> Any:
        steps = [step for step in saga.steps if step.state is not StepState.RUNNING]
        return real(dataclasses.replace(saga, steps=tuple(steps)), effects, now)

    return patch.object(planner, "_plan_backward", plan)


def _never_reopen() -> Removed:
    return patch.object(step_transitions, "reopen", lambda work, step: None)


def _share_budgets() -> Removed:
    real = claim._open

    def open_attempt(work: Any, step: Any, declared: Any, direction: Direction, worker: str) -> Any:
        used = step.budget_used
        attempt = real(work, step, declared, direction, worker)
        step.budget_used = used + 1
        return attempt

    return patch.object(claim, "_open", open_attempt)


def _ignore_tombstones() -> Removed:
    def enter(_using: str, row: Any) -> Entry:
        return Entry(is_done=row.state == BarrierState.DONE, result=row.result)

    return patch.object(barrier, "_enter_action", enter)


def _forget_late_answers() -> Removed:
    return patch.object(late_answers, "keep", lambda work, claimed, report: ClaimResult())


def _assume_lost_workers_did_nothing() -> Removed:
    def describe(_work: Any, _step: Any) -> Any:
        return outcomes.lost_worker(is_rolled_back=True, worker="")

    return patch.object(step_transitions, "_describe_lost_worker", describe)


def _ignore_deadlines() -> Removed:
    return patch.object(settle, "_notice_deadline", lambda work: None)


def _ignore_pivot() -> Removed:
    return patch.multiple(planner, is_pivot_passed=lambda saga: False, is_pivot_open=lambda saga, effects: True)


def _compensate_in_forward_order() -> Removed:
    def rank_to_compensate(saga: Any, effects: Any) -> int | None:
        return min((step.rank for step in saga.steps if planner._is_to_compensate(step, effects)), default=None)

    return patch.object(planner, "rank_to_compensate", rank_to_compensate)


def _retry_for_ever() -> Removed:
    return patch.object(budgets, "is_spent", lambda budget, report: False)


def _claim_while_paused() -> Removed:
    real = planner._dispatch

    def dispatch(saga: Any, steps: Any, direction: Direction, now: Any) -> Plan:
        return real(_without(saga, hold=None) if saga.hold is Hold.PAUSED else saga, steps, direction, now)

    return patch.object(planner, "_dispatch", dispatch)


def _complete_despite_abort_request() -> Removed:
    real = planner._plan_forward

    def plan(saga: Any, effects: Any, now: Any) -> Plan:
        found = real(saga, effects, now)
        is_done = all(step.state in PASSED_STATES for step in saga.steps)
        return Plan(close=SagaState.COMPLETED) if found == Plan() and is_done else found

    return patch.object(planner, "_plan_forward", plan)


def _start_beside_held_siblings() -> Removed:
    real = planner._plan_forward

    def plan(saga: Any, effects: Any, now: Any) -> Plan:
        found = real(saga, effects, now)
        is_waiting = not (found.turn_back or found.drop_abort or found.close)
        return real(_without(saga, abort_request=None), effects, now) if is_waiting else found

    return patch.object(planner, "_plan_forward", plan)


def _watch_one_rank_of_compensations() -> Removed:
    real = planner._plan_backward

    def plan(saga: Any, effects: Any, now: Any) -> Plan:
        rank = planner.rank_to_compensate(saga, effects)
        is_settled = rank is None or any(step.state is StepState.RUNNING for step in saga.steps)
        steps = saga.steps if is_settled else tuple(step for step in saga.steps if step.rank == rank)
        return real(_without(saga, steps=steps), effects, now)

    return patch.object(planner, "_plan_backward", plan)


def _trust_new_barrier_rows() -> Removed:
    real_take, real_enter = barrier._take, barrier._enter_action

    def take(*arguments: Any) -> Any:
        row, row.is_new = taken = real_take(*arguments)
        return taken

    def enter(using: str, row: Any) -> Entry:
        return Entry() if row.is_new else real_enter(using, row)

    return patch.multiple(barrier, _take=take, _enter_action=enter)


def _expire_barrier_rows_one_by_one() -> Removed:
    def select(alias: str) -> Any:
        until = clock.read_now(alias) - get_settings().barrier_retention
        return SagaBarrier.objects.using(alias).filter(created_at__lt=until)

    return patch.object(purge, "_select_old_barriers", select)


def _without(saga: Any, **changes: Any) -> Any:
    return dataclasses.replace(saga, **changes)


OFTEN, SELDOM = 200, 2_000


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Rule that can be removed."""

    remove: Callable[[], Removed]
    """Remove the rule inside the block."""
    play: Callable[[SagaMachine], None]
    """Scenario that ends correctly with the rule and must go wrong without it."""
    seen: str
    """Expected violation: names of rules, invariants or database constraints."""
    within: int | None = None
    """Runs of the fixed seed within which a random run must find it, too; None: only the scenario does."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Return the errors that may report it."""
        return AssertionError, IntegrityError

    @property
    def expected(self) -> str:
        """Return a regular expression for the start of the error."""
        return rf"^(({self.seen}): |new row .* violates check constraint \"({self.seen})\")"


REMOVALS: Mapping[str, Removal] = {
    "only the live lease token records": Removal(
        remove=_record_under_any_token, play=scenarios.record_late_in_local_step, seen="I8|I10|S0", within=OFTEN
    ),
    "compensation waits for live actions": Removal(
        remove=_compensate_beside_live_actions, play=scenarios.compensate_beside_live_action, seen="S3|I4", within=OFTEN
    ),
    "a late effect reopens": Removal(remove=_never_reopen, play=scenarios.act_after_close, seen="I4|S0", within=SELDOM),
    "a late answer is kept": Removal(remove=_forget_late_answers, play=scenarios.act_after_close, seen="I4|S0"),
    "budgets are per direction": Removal(
        remove=_share_budgets, play=scenarios.spend_budget_and_compensate, seen="S1", within=SELDOM
    ),
    "a tombstone fences a late action": Removal(
        remove=_ignore_tombstones, play=scenarios.act_behind_tombstone, seen="S0|I10", within=SELDOM
    ),
    "a lost worker leaves an unknown outcome": Removal(
        remove=_assume_lost_workers_did_nothing, play=scenarios.lose_worker_after_call, seen="S0|I10", within=OFTEN
    ),
    "no action begins after the deadline": Removal(
        remove=_ignore_deadlines, play=scenarios.continue_after_deadline, seen="S7", within=OFTEN
    ),
    "nothing compensates after the pivot": Removal(
        remove=_ignore_pivot,
        play=scenarios.cancel_after_pivot,
        seen="saga_never_compensated_after_pivot",
        within=OFTEN,
    ),
    "compensation runs in reverse order": Removal(
        remove=_compensate_in_forward_order, play=scenarios.undo_two_steps, seen="I5", within=OFTEN
    ),
    "a spent budget ends the attempts": Removal(
        remove=_retry_for_ever, play=scenarios.exceed_budget, seen="S1", within=OFTEN
    ),
    "nothing is claimed while a saga is paused": Removal(
        remove=_claim_while_paused, play=scenarios.advance_paused_saga, seen="S8", within=OFTEN
    ),
    "a remembered abort outlives the last step": Removal(
        remove=_complete_despite_abort_request, play=scenarios.end_last_step_of_paused_saga, seen="S7"
    ),
    "nothing starts beside a held sibling after an abort request": Removal(
        remove=_start_beside_held_siblings, play=scenarios.pass_deadline_beside_held_sibling, seen="S7"
    ),
    "every live compensation is watched": Removal(
        remove=_watch_one_rank_of_compensations, play=scenarios.pass_pivot_beside_live_compensation, seen="I9"
    ),
    "every action checks for a compensation": Removal(
        remove=_trust_new_barrier_rows, play=scenarios.act_after_lost_barrier_row, seen="S0|I10"
    ),
    "the barrier rows of one key expire together": Removal(
        remove=_expire_barrier_rows_one_by_one, play=scenarios.act_after_expired_barrier_rows, seen="I10"
    ),
}
