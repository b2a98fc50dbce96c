"""Execution of a claimed step: run its function and report the outcome.

Business code runs here, while no engine lock is held. Every exception becomes an outcome; nothing is decided here.
"""

import dataclasses
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connections

from .. import transactions
from ..conf import get_settings
from ..core import outcomes
from ..core.definition import function_shapes
from ..core.definition.context import StepContext
from ..core.definition.options import StepFunction
from ..core.definition.steps import Step
from ..core.json_values import as_stored
from ..core.outcomes import Report
from ..core.states import Direction
from ..databases import is_away, is_conflict, refresh_connection
from ..exceptions import Fenced, InputRefused, SagaError, WorkerDied
from ..participants import barrier

logger = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_SINCE = 170_000  # PostgreSQL 17


@dataclass(frozen=True, kw_only=True)
class ClaimedStep:
    """Live attempt of a step: what to execute, and under which lease token."""

    saga_id: UUID
    step: Step
    direction: Direction
    token: UUID
    context: StepContext[Any]
    timeout: timedelta
    database: str
    """Alias of the participant's database."""
    joins_engine: bool
    """Whether the step is local and its data commit together with the engine's record."""


def execute_step(claimed: ClaimedStep) -> Report:
    """Execute an external step, or a local step whose participant has its own database.

    Tx: must not be inside one; opens the participant's.
    """
    if claimed.database == get_settings().database:
        return _call(claimed)
    try:
        refresh_connection(claimed.database)
        connections[claimed.database].ensure_connection()
    except (OperationalError, InterfaceError) as error:
        return outcomes.faultless(error, redact=redact_text)
    if claimed.step.external:
        return _call_behind_intent(claimed)
    return _call_in_transaction(claimed)


def run_function(claimed: ClaimedStep) -> dict[str, Any] | None:
    """Run the function of a local step in its transaction.

    Returns: the result as it is stored, with secrets masked.
    Raises: any exception of the function; InputRefused when the result cannot be stored; TransactionEnded.
    """
    try:
        result = _invoke(claimed)
    except WorkerDied:
        raise
    except BaseException:
        with suppress(DatabaseError, InterfaceError):  # the step's own exception says more
            transactions.require_kept(claimed.database)
        raise
    transactions.require_open(claimed.database)
    return _make_storable(claimed, result)


def judge(claimed: ClaimedStep, error: BaseException, *, is_rolled_back: bool) -> Report:
    """Return the report for an exception of a step function, with the secrets in its text masked."""
    known: dict[str, Any] = {
        "refusals": claimed.step.refusals(claimed.direction), "refusal_settles": claimed.step.refusal_settles,
        "is_rolled_back": is_rolled_back,
    }  # fmt: skip
    try:
        return outcomes.classify(error, redact=redact_text, **known)
    except Exception:  # noqa: BLE001 - the error's class may raise; the attempt must not be lost
        unreadable = SagaError("The step raised an error that cannot be read: its class or text raises another error.")
        return outcomes.classify(unreadable, redact=redact_text, **known)


def facts_of(claimed: ClaimedStep) -> dict[str, Any]:
    """Return the fields that log lines give for an attempt."""
    return {
        "saga_id": str(claimed.saga_id), "step": claimed.step.name, "direction": claimed.direction.value,
        "attempt": claimed.context.attempt,
    }  # fmt: skip


def redact_text(text: str) -> str:
    """Return a text with its secrets masked, so that it may be stored."""
    return get_settings().redactor.redact_text(text)


def set_timeouts(using: str, timeout: timedelta) -> None:
    """Set the time-outs of a local step's transaction (rule S2), check its session and mark it in one statement.

    Raises: ConnectionAltered.
    Tx: inside the transaction; does nothing in a nested one, because the time-outs would outlive it.
    """
    connection = connections[using]
    if connection.savepoint_ids:
        return
    milliseconds = str(max(1, int(timeout.total_seconds() * 1000)))
    names = ["statement_timeout", "lock_timeout"]
    with connection.cursor() as cursor:
        if cursor.connection.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
            names.append("transaction_timeout")
        calls = ", ".join(f"set_config('{name}', %s, true)" for name in names)
        sql = f"SELECT {calls}, {transactions.MARK_SQL}, {transactions.SESSION_SQL}"
        cursor.execute(sql, [milliseconds] * len(names))
        session = cursor.fetchone()[-1]
    transactions.require_same_session(using, session)


def _keep(_claimed: ClaimedStep, function: StepFunction) -> StepFunction:
    return function


# Wraps every step function before it is called; only ``sagas.testing`` replaces it.
intercept: Callable[[ClaimedStep, StepFunction], StepFunction] = _keep


def _function(claimed: ClaimedStep) -> StepFunction:
    function = claimed.step.function(claimed.direction)
    if function is None:
        raise InputRefused(f"Step {claimed.step.name} has no {claimed.direction.value} to run.")
    return intercept(claimed, function)


def _invoke(claimed: ClaimedStep) -> Any:
    """Call the step function, then restore or drop the connections that it changed."""
    function = _function(claimed)
    with transactions.guarded_connections():
        return function(claimed.context)


def _make_storable(claimed: ClaimedStep, result: Any) -> dict[str, Any] | None:
    """Return a result as it is stored and passed to later steps, with its secrets masked.

    Raises: InputRefused when it cannot be stored; Misconfigured for an awaitable or a generator; any exception of a
    subclass of dict.
    """
    name = claimed.step.name
    function_shapes.require_finished(result, f"Step {name}")
    if result is not None and not isinstance(result, dict):
        raise InputRefused(f"Step {name} returned {type(result).__name__}; a result is a dict or None.")
    if result is None:
        return None
    stored = as_stored(result, f"The result of step {name}", get_settings().result_max_bytes)
    masked, found = get_settings().redactor.mask_data(stored)
    if found:
        places = [f"{finding.path} ({finding.kind})" for finding in found]
        facts = {"saga_id": str(claimed.saga_id), "step": name, "places": places}
        logger.warning("Secrets masked in a result; later steps cannot read them.", extra=facts)
    return cast("dict[str, Any] | None", masked)


def _call(claimed: ClaimedStep) -> Report:
    """Call an external step; a result that cannot be stored is reported as misconfigured."""
    try:
        result = _invoke(claimed)
    except WorkerDied:
        raise
    except BaseException as error:  # noqa: BLE001 - every error of a step function becomes an outcome
        return judge(claimed, error, is_rolled_back=False)
    try:
        return outcomes.succeeded(_make_storable(claimed, result))
    except Exception as error:  # noqa: BLE001 - reading a result may run the project's code, such as a subclass of dict
        return outcomes.unstorable(error, redact=redact_text)


def _call_behind_intent(claimed: ClaimedStep) -> Report:
    """Store the intent of an external call in the participant's database, make the call, and store its result there."""
    place = _place_of(claimed)
    try:
        with transactions.own_transaction(claimed.database, durable=True):
            entry = barrier.enter(*place)
    except Fenced as error:
        return judge(claimed, error, is_rolled_back=True)
    except (DatabaseError, InterfaceError, transactions.ConnectionAltered) as error:
        refresh_connection(claimed.database, is_broken=True)
        if is_away(error) or isinstance(error, transactions.ConnectionAltered):
            return outcomes.faultless(error, redact=redact_text)
        return judge(claimed, error, is_rolled_back=True)
    # A verification (``verify_after``) must call the participant again instead of reading the stored result.
    must_look = claimed.direction is Direction.COMPENSATION and claimed.step.verify_after is not None
    if entry.is_done and not must_look:
        return outcomes.succeeded(entry.result)
    report = outcomes.succeeded(None) if entry.is_empty else _call(claimed)
    if report == outcomes.succeeded(report.result):
        _store(place, report.result)
    return report


def _store(place: tuple[str, str, Direction, int], result: dict[str, Any] | None) -> None:
    """Store the result of an external call; if that fails, the intent stays and a repeat calls again by its key."""
    try:
        with transactions.own_transaction(place[0], durable=True):
            barrier.finish(*place, result)
    except (DatabaseError, InterfaceError):
        logger.warning("Barrier result not stored.", extra={"key": place[1]}, exc_info=True)


def _call_in_transaction(claimed: ClaimedStep) -> Report:
    """Execute a local step in its participant's own database; barrier row and domain change commit together."""
    place = _place_of(claimed)
    reached = "barrier"
    try:
        with transactions.own_transaction(claimed.database, durable=True, keeps_isolation=True):
            set_timeouts(claimed.database, claimed.timeout)
            entry = barrier.enter(*place, is_local=True)
            reached = "function"
            if entry.is_done:
                result = entry.result
            else:
                result = None if entry.is_empty else run_function(claimed)
                if not entry.is_empty:
                    transactions.require_kept(claimed.database)
                reached = "barrier"
                barrier.finish(*place, result)
            transactions.log_failing_callbacks(claimed.database, facts_of(claimed))
            reached = "commit"
    except WorkerDied:
        raise
    except BaseException as error:  # noqa: BLE001 - every error of a step function becomes an outcome
        is_altered = isinstance(error, transactions.ConnectionAltered)
        refresh_connection(claimed.database, is_broken=is_altered)
        if reached != "function" and is_conflict(error):
            return outcomes.faultless(error, redact=redact_text)
        if reached == "commit" and not is_altered:
            return outcomes.commit_unknown(error, redact=redact_text)
        if reached == "barrier" and (is_altered or is_away(error)):
            return outcomes.faultless(error, redact=redact_text)
        return judge(claimed, error, is_rolled_back=True)
    return outcomes.succeeded(result)


def _place_of(claimed: ClaimedStep) -> tuple[str, str, Direction, int]:
    epoch = claimed.context.epoch if claimed.direction is Direction.COMPENSATION else 0
    return claimed.database, claimed.context.key, claimed.direction, epoch


def repeater_of(action: StepFunction, context: StepContext[Any]) -> Callable[[], dict[str, Any] | None]:
    """Return the function that ``StepContext.repeat_action`` calls: the action, under its own key."""
    return lambda: action(dataclasses.replace(context, direction=Direction.ACTION, repeater=None))
