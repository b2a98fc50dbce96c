"""JSON of a saga with the operations that an account may perform, and the cursor of a list."""

import base64
import binascii
from datetime import datetime
from typing import Any
from uuid import UUID

from ..engine.store.snapshot import SagaSnapshot
from ..models import Saga, SagaStep
from ..operators import preconditions, preview
from ..operators.actor import Actor
from ..operators.preconditions import Operation
from ..operators.presentation import judge_step
from ..operators.queries.keyset import read_place, write_place
from ..operators.queries.listing import describe_sagas
from ..operators.visibility import show_error

# A retry is for one step, or for all that wait.
STEP_ACTIONS = preconditions.STEP_REQUIRED | {Operation.RETRY}
DEBT = ("step", "by", "types", "since", "due_at")


def describe_whole(saga_id: UUID, *, actor: Actor, with_errors: bool) -> dict[str, Any]:
    """Return a saga with its steps, and the possible operations. Takes no lock, so that reading does not delay workers.

    Raises: SagaNotFound.
    """
    snapshot = SagaSnapshot.load(saga_id)
    [listed] = describe_sagas([snapshot.saga])
    effects, possible = snapshot.effects(), _list_possible(snapshot, actor)
    steps = [
        {
            **_describe_step(step, snapshot.saga, effects[step.name].value, with_errors=with_errors),
            "actions": [operation.value for operation, refusals in possible.items() if not refusals[step.name]],
        }
        for step in snapshot.steps
    ]
    actions = [
        preview.plan_on(snapshot, operation, actor=actor)
        for operation in Operation
        if operation not in preconditions.STEP_REQUIRED
    ]
    return {
        **listed.as_dict(with_errors=with_errors),
        "coordination": snapshot.saga.coordination,
        "owed": [{name: debt[name] for name in DEBT} for debt in snapshot.saga.owed],
        "steps": steps,
        "actions": [
            {"operation": plan.operation.value, "is_allowed": plan.is_allowed, "refusal": plan.refusal}
            for plan in actions
        ],
    }


def write_cursor(at: datetime, saga_id: UUID) -> str:
    """Return the place of a saga in the list, as an opaque text."""
    return base64.urlsafe_b64encode(write_place(at, saga_id).encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[datetime, UUID] | None:
    """Return the place that a cursor encodes, or None if ``write_cursor`` did not make it."""
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode()
    except (ValueError, binascii.Error):
        return None
    place = read_place(raw)
    return place if place and write_cursor(*place) == text else None


def _list_possible(snapshot: SagaSnapshot, actor: Actor) -> dict[Operation, dict[str, str]]:
    """Return why each step operation that an account may perform is refused now, by operation and step."""
    return {
        operation: preview.find_refusals_by_step(snapshot, operation)
        for operation in Operation
        if operation in STEP_ACTIONS and actor.may(preconditions.PERMISSIONS[operation])
    }


def _describe_step(step: SagaStep, saga: Saga, effect: str, *, with_errors: bool) -> dict[str, Any]:
    return {
        "name": step.name,
        "kind": step.kind,
        "state": step.state,
        "display_state": judge_step(step, saga).value,
        "hold": step.hold,
        "attention": step.attention,
        "effect": effect,
        "action_attempts": step.action_attempts,
        "compensation_attempts": step.compensation_attempts,
        "due_at": step.due_at.isoformat() if step.due_at else None,
        "is_live": step.is_live,
        "is_assumed": step.is_assumed,
        "last_error": show_error(step.last_error, with_errors=with_errors),
    }
