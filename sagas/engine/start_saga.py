"""Start of a saga: its row, steps, business keys and first history row are written in one statement."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from django.db import connections, transaction

from .. import clock
from ..conf import get_settings
from ..core import json_values
from ..core.definition import inputs
from ..core.definition.saga import SagaDefinition
from ..core.history_events import HistoryEvent
from ..core.states import Direction, Effect, Outcome, SagaState, StepState
from ..exceptions import SagaError
from ..models import Saga, SagaHistory, SagaKey, SagaStep
from ..models.saga import new_saga_id
from .notify import wakeup_sending
from .store import signatures, statements
from .store.business_keys import check_keys
from .store.statements import HISTORY_COLUMNS, KEY_COLUMNS, OPEN_COLUMNS

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

START_COLUMNS = (
    "id", "definition", "version", "digest", "coordination", "state", "attention", "input", "revision",
    "history_count", "abort_actor",
    "abort_reason", "started_by", "traceparent", "queue", "other_queues", "deadline_at", "due_at", "most_attempts",
    "signature", "signature_count", "created_at", "updated_at",
)  # fmt: skip
STEP_START_COLUMNS = (
    "saga_id", "name", "position", "rank", "kind", "state", "action_attempts", "compensation_attempts",
    "budget_used", "epoch", "is_assumed", "last_error", "started_at", "finished_at",
)  # fmt: skip
ATTEMPT_START_COLUMNS = tuple(column for column in OPEN_COLUMNS if column not in ("saga_id", "step_id"))


def start(
    definition: type[SagaDefinition],
    input: Any = None,
    *,
    business_keys: Mapping[str, str] | None = None,
    actor: str = "",
    traceparent: str = "",
) -> Saga:
    """Start a saga together with the caller's own rows, and wake it after the commit.

    ``business_keys`` are what operators search by, such as ``{"order": "ORD-1"}``. ``actor`` is who asked for the saga,
    stored as text. Secrets are refused in the input, and masked in keys and actor.
    Raises: InputRefused when the input, a key or the actor does not fit; SagaError when a step is declared as done
    together with the start, but no transaction is open.
    Tx: joins the caller's transaction of the engine's database; opens its own if there is none.
    """
    using = get_settings().database
    redactor = get_settings().redactor
    keys = check_keys(business_keys or {})
    data = inputs.dump(definition.input, input, redactor)
    json_values.require_text(actor, "The actor")
    traceparent = check_traceparent(traceparent)
    has_step_done = any(step.action is None for step in definition.steps)
    if has_step_done and not connections[using].in_atomic_block:
        raise SagaError(
            f"{definition.name}: a step without action is done by the caller; call start inside that transaction."
        )
    with transaction.atomic(using=using):
        saga = _build(definition, data, redactor.redact_text(actor), traceparent)
        steps = [_step_row(saga, step) for step in definition.steps]
        insert(saga, steps, keys, done=[step.name for step in definition.steps if step.action is None])
        wakeup_sending.send_after_commit(saga.pk, [saga.queue])
    return saga


def check_traceparent(text: Any) -> str:
    """Return a W3C trace context, or an empty string for anything else."""
    return text if isinstance(text, str) and TRACEPARENT.fullmatch(text) else ""


def _build(definition: type[SagaDefinition], data: dict[str, Any], actor: str, traceparent: str) -> Saga:
    settings = get_settings()
    now = clock.read_now(settings.database)
    queues = _list_first_queues(definition)
    return Saga(
        id=new_saga_id(),
        definition=definition.name,
        version=definition.version,
        digest=definition.digest,
        input=data,
        history_count=1,
        started_by=actor[:200],
        traceparent=traceparent,
        queue=queues[0],
        other_queues=queues[1:],
        deadline_at=now + definition.deadline if definition.deadline else None,
        due_at=now,
        created_at=now,
        updated_at=now,
    )


def _list_first_queues(definition: type[SagaDefinition]) -> list[str]:
    settings = get_settings()
    todo = [step for step in definition.steps if step.action is not None]
    first = [settings.queue_of(step) for step in todo if step.rank == todo[0].rank]
    return list(dict.fromkeys(first)) or [settings.common_queue]


def insert(saga: Saga, steps: Iterable[dict[str, Any]], keys: Mapping[str, str], *, done: Iterable[str] = ()) -> None:
    """Insert a saga with its steps, business keys and first history row, in one statement.

    ``steps``: rows by column. ``done``: steps that succeeded together with the start.
    """
    history = {
        "saga_id": saga.pk, "number": 1, "at": saga.created_at, "what": HistoryEvent.SAGA_STARTED.value, "step": "",
        "from_state": "",
        "to_state": SagaState.PENDING.value, "actor": saga.started_by or None, "reason": "", "data": {"version":
        saga.version}, }  # fmt: skip
    saga.signature, saga.signature_count = signatures.sign_entries([history], saga_id=saga.pk, signature="", count=0)
    row = statements.values_of(saga, START_COLUMNS)
    parts = {
        "saga": statements.insert(Saga, START_COLUMNS, [row]),
        "steps": statements.insert(SagaStep, STEP_START_COLUMNS, steps),
        "history": statements.insert(SagaHistory, HISTORY_COLUMNS, [history]),
    }
    if attempts := [_done_attempt(saga, name) for name in done]:
        parts["attempts"] = statements.insert_first_attempts(ATTEMPT_START_COLUMNS, attempts)
    if keys:
        rows = [{"saga_id": saga.pk, "name": name, "value": value} for name, value in keys.items()]
        parts["keys"] = statements.insert(SagaKey, KEY_COLUMNS, rows)
    # The attempts need the ids of the inserted steps.
    clauses = ", ".join(
        f"{name} AS ({sql} RETURNING saga_id, id, name)" if name == "steps" else f"{name} AS ({sql})"
        for name, (sql, _) in parts.items()
    )
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(f"WITH {clauses} SELECT 1", [value for _, values in parts.values() for value in values])
    saga._state.adding = False
    saga._state.db = get_settings().database


def _step_row(saga: Saga, step: Any) -> dict[str, Any]:
    is_done = step.action is None
    moment = saga.created_at if is_done else None
    return {
        **pending_row(saga, step.name, step.position, step.rank, step.kind.value),
        "state": StepState.SUCCEEDED.value if is_done else StepState.PENDING.value, "action_attempts": int(is_done),
        "started_at": moment, "finished_at": moment,
    }  # fmt: skip


def pending_row(saga: Saga, name: str, position: int, rank: int, kind: str) -> dict[str, Any]:
    """Return the row of a step that has not begun, for ``insert``."""
    return {
        "saga_id": saga.pk, "name": name, "position": position, "rank": rank, "kind": kind,
        "state": StepState.PENDING.value, "action_attempts": 0, "compensation_attempts": 0, "budget_used": 0,
        "epoch": 0, "is_assumed": False, "last_error": "", "started_at": None, "finished_at": None,
    }  # fmt: skip


def _done_attempt(saga: Saga, step_name: str) -> dict[str, Any]:
    return {
        "step_name": step_name, "direction": Direction.ACTION.value, "number": 1, "epoch": 0, "lease_token": uuid4(),
        "worker": "", "started_at": saga.created_at, "deadline_at": saga.created_at, "is_assumed": False,
        "ended_at": saga.created_at, "outcome": Outcome.SUCCEEDED.value, "effect": Effect.YES.value, "settles": False,
        "error_class": "", "message": "", "traceback": "", "error_group": "",
    }  # fmt: skip
