"""Participants without any protection of their own, so that every duplicate call shows as a duplicate effect.

The shop's own services remember their keys; here only the engine's rules, its barrier and the provider's key lookup
stand between a crash and a second effect. Effects are rows; nothing about them is unique.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import connections, router

from sagas import Compensatable, Fenced, OperationRefused, Parallel, Pivot, Retriable, SagaDefinition, StepContext
from sagas.engine import advance
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.testing import find_violations

from .points import call_outside
from .shop import World, fetch

CREATE_TABLE = "CREATE TABLE faults_effect (id serial PRIMARY KEY, key text NOT NULL, what text NOT NULL)"
DONE, UNDONE, CLOSED = "done", "undone", "closed"
OWNER = Actor(name="owner", is_trusted=True)


class Refused(Exception):
    """Refusal of a participant."""


@dataclass(frozen=True, kw_only=True)
class BareInput:
    """Input that decides how the saga ends."""

    is_refused: bool
    """Whether its pivot is refused."""


def create_tables() -> None:
    """Create the table of effects in every participant's database."""
    for alias in connections:
        with connections[alias].cursor() as cursor:
            cursor.execute(CREATE_TABLE)


def define_bare_saga() -> type[SagaDefinition]:
    """Declare a saga with every kind of step, local in each database and external.

    Register it only for a test: inside ``registry.preserved()``.
    """

    class BareSaga(SagaDefinition):
        """Do something in every way there is."""

        note = Compensatable(_do(""), _undo(""))
        gather = Parallel(
            take=Compensatable(_do("inventory"), _undo("inventory"), participant="inventory"),
            ask=Compensatable(_call("payments"), _call_off("payments"), participant="payments", external=True),
        )
        decide = Pivot(_decide, participant="inventory", refuses_on=[Refused])
        tell = Retriable(_call("shipping"), participant="shipping", external=True)
        close = Retriable(_do(""))

        class Meta:
            name = "bare"
            version = 1
            input = BareInput

    return BareSaga


STEPS = ("note", "take", "ask", "decide", "tell", "close")
PLACES = {"take": "inventory", "ask": "payments", "decide": "inventory", "tell": "shipping"}
_numbers = itertools.count(1)


def start_bare(definition: type[SagaDefinition], *, is_refused: bool = False) -> UUID:
    """Start one saga."""
    return advance.start(definition, BareInput(is_refused=is_refused), business_keys={"bare": str(next(_numbers))}).pk


def cancel_bare(saga_id: UUID) -> None:
    """Cancel the saga unless it is too late."""
    try:
        operations.cancel(saga_id, actor=OWNER, reason="Nobody wants it any more.")
    except OperationRefused:
        return


def read_bare(saga_id: UUID) -> World:
    """Read by SQL the state of the saga, its remaining effects, and every duplicate."""
    ((state, hold, attention),) = fetch(
        "default", "SELECT state, hold, attention::text FROM sagas_saga WHERE id = %s", saga_id
    )
    held = fetch("default", "SELECT name, hold FROM sagas_sagastep WHERE saga_id = %s AND hold IS NOT NULL", saga_id)
    left, doubles = [], []
    for step in STEPS:
        done, undone = (_count(step, saga_id, what) for what in (DONE, UNDONE))
        left += [step] * (done - undone)
        if done > 1 or undone > done:
            doubles.append((step, done, undone))
    return {
        "saga": state, "attention": attention, "holds": [("saga", hold)] * (hold is not None) + held, "left": left,
        "doubles": doubles, "violations": find_violations(saga_id),
    }  # fmt: skip


AT_REST: World = {"holds": [], "attention": "[]", "doubles": [], "violations": []}
BARE_COMPLETED: World = {**AT_REST, "saga": "completed", "left": list(STEPS)}
BARE_COMPENSATED: World = {**AT_REST, "saga": "compensated", "left": []}


def database_of(participant: str) -> str:
    """Return the database of a participant."""
    if not participant:
        return "default"
    return router.db_for_write(next(iter(apps.get_app_config(participant).get_models())))


def ask_provider(alias: str, key: str) -> None:
    """Act once for a key unless it is closed; one statement, as a provider is atomic.

    Raises: Fenced when the key is closed.
    """
    write_unless(alias, key, DONE, unless=(DONE, CLOSED))
    if fetch(alias, "SELECT 1 FROM faults_effect WHERE key = %s AND what = %s", key, CLOSED):
        raise Fenced(f"{key} is closed")


def undo_at_provider(alias: str, key: str) -> None:
    """Undo the effect of a key once; close the key if there is none."""
    write_unless(alias, key, CLOSED, unless=(DONE, CLOSED))
    if fetch(alias, "SELECT 1 FROM faults_effect WHERE key = %s AND what = %s", key, DONE):
        write_unless(alias, key, UNDONE, unless=(UNDONE,))


def write_unless(alias: str, key: str, what: str, *, unless: tuple[str, ...]) -> None:
    """Write an effect unless one of these exists under the key: the lookup that makes a repeat harmless."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "INSERT INTO faults_effect (key, what) SELECT %s, %s"
            " WHERE NOT EXISTS (SELECT 1 FROM faults_effect WHERE key = %s AND what = ANY(%s))",
            [key, what, key, list(unless)],
        )


def _count(step: str, saga_id: UUID, what: str) -> int:
    alias = database_of(PLACES.get(step, ""))
    statement = "SELECT count(*) FROM faults_effect WHERE key LIKE %s AND what = %s"
    return int(fetch(alias, statement, f"{saga_id}:{step}%", what)[0][0])


def _write(alias: str, key: str, what: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO faults_effect (key, what) VALUES (%s, %s)", [key, what])


def _do(participant: str) -> Callable[[StepContext[Any]], None]:
    return lambda step: _write(database_of(participant), step.key, DONE)


def _undo(participant: str) -> Callable[[StepContext[Any]], None]:
    def undo(step: StepContext[Any]) -> None:
        alias = database_of(participant)
        if fetch(alias, "SELECT 1 FROM faults_effect WHERE key = %s AND what = %s", step.key, DONE):
            _write(alias, step.key, UNDONE)

    return undo


def _decide(step: StepContext[BareInput]) -> None:
    if step.input.is_refused:
        raise Refused("no")
    _write(database_of("inventory"), step.key, DONE)


def _call(participant: str) -> Callable[[StepContext[Any]], None]:
    return lambda step: call_outside("provider", "do", lambda: ask_provider(database_of(participant), step.key))


def _call_off(participant: str) -> Callable[[StepContext[Any]], None]:
    return lambda step: call_outside("provider", "undo", lambda: undo_at_provider(database_of(participant), step.key))
