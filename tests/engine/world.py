"""Participants of the sagas in these tests, with a record of every effect and call.

Effects are rows of a table of its own, so that a rolled-back step leaves none, a killed process keeps what it
committed, and every effect can be counted.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import connections, router, transaction

from sagas import Compensatable, Pivot, Retriable, SagaDefinition, StepContext
from sagas.core.definition.steps import Step
from sagas.core.states import Direction
from sagas.engine import advance
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaStep
from sagas.operators.actor import Actor
from sagas.testing.drain import look, read

ENGINE = "default"
CREATE_LEDGER = (
    "CREATE TABLE IF NOT EXISTS engine_test_ledger (id serial PRIMARY KEY, key text NOT NULL, what text NOT NULL)"
)
ACTION, COMPENSATION = Direction.ACTION, Direction.COMPENSATION
OPERATOR = Actor(name="ada", is_trusted=True)
REASON, EVIDENCE = "because the test wants it", "the provider's page says so"


class Refused(Exception):
    """Refusal of a participant."""


class CannotUndo(Exception):
    """Refusal of a compensation."""


class Broken(Exception):
    """Undeclared error."""


@dataclass(frozen=True)
class After:
    """Behaviour that raises an error after the effect."""

    error: BaseException


@dataclass(frozen=True, kw_only=True)
class Call:
    """Arguments of one call of a step function."""

    step: str
    direction: Direction
    key: str
    """Of the step: the same whatever the direction and the attempt."""
    epoch: int
    provider_key: str
    attempt: int
    input: Any
    results: dict[str, Any]


def database_of(participant: str | None) -> str:
    """Return the database of a participant."""
    if participant is None:
        return ENGINE
    return router.db_for_write(next(iter(apps.get_app_config(participant).get_models())))


@dataclass
class World:
    """Stand-in for all participants.

    Local functions write one row each time they run: a second row would be a second effect. External ones behave
    like a provider: one effect for each key however often it is called, and a cancelled key stays closed.
    """

    plans: dict[tuple[str, Direction], deque[Any]] = field(default_factory=lambda: defaultdict(deque))
    calls: list[Call] = field(default_factory=list)
    closes_keys: bool = True
    """Whether the provider refuses an action under a cancelled key."""

    def will(self, step: str, *behaviours: Any, direction: Direction = ACTION) -> None:
        """Set the behaviour of the next calls of a step.

        An exception is raised before the effect, ``After`` after it; a dict is returned; a function is called with the
        context and the regular behaviour; None works regularly.
        """
        self.plans[step, direction].extend(behaviours)

    def compensatable(self, participant: str | None = None, *, external: bool = False, **options: Any) -> Step:
        """Declare a compensatable step, which may be refused."""
        return Compensatable(
            self.action(participant, external=external),
            self.compensation(participant, external=external),
            participant=participant,
            external=external,
            **{"refuses_on": [Refused], "compensation_refuses_on": [CannotUndo], **options},
        )

    def pivot(self, participant: str | None = None, *, external: bool = False, **options: Any) -> Step:
        """Declare a pivot, which may be refused."""
        return Pivot(
            self.action(participant, external=external),
            participant=participant,
            external=external,
            **{"refuses_on": [Refused], **options},
        )

    def retriable(self, participant: str | None = None, *, external: bool = False, **options: Any) -> Step:
        """Declare a retriable step."""
        return Retriable(
            self.action(participant, external=external), participant=participant, external=external, **options
        )

    def begin(self, *name: str, given: Any = None, keys: dict[str, str] | None = None, **steps: Any) -> Saga:
        """Define a trip from its steps, in order, and start one with an input and business keys."""
        return begin(define(*name, **steps), given, **keys or {})

    def action(self, participant: str | None = None, *, external: bool = False) -> Callable[..., Any]:
        """Return the function of an action."""

        def act(step: StepContext[Any]) -> Any:
            return self._play(step, lambda: self._do(step.key, participant, external=external))

        return act

    def compensation(self, participant: str | None = None, *, external: bool = False) -> Callable[..., Any]:
        """Return the function of a compensation."""

        def undo(step: StepContext[Any]) -> Any:
            return self._play(step, lambda: self._undo(step.key, participant, external=external))

        return undo

    def count(self, saga: Saga, step: str, what: str = "done", *, participant: str | None = None) -> int:
        """Count the effects of a step, their removals (``undone``), or compensations that found nothing."""
        with connections[database_of(participant)].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM engine_test_ledger WHERE key = %s AND what = %s", [f"{saga.pk}:{step}", what]
            )
            return int(cursor.fetchone()[0])

    def put(self, key: str) -> None:
        """Write an effect in the engine's database, as a local action does."""
        self._do(key, None, external=False)

    def called(self, step: str, direction: Direction = ACTION) -> int:
        """Count the calls of a step function."""
        return sum(call.step == step and call.direction is direction for call in self.calls)

    def order(self, direction: Direction = COMPENSATION) -> list[str]:
        """Return the steps in the order in which they were called in this direction."""
        return [call.step for call in self.calls if call.direction is direction]

    def find_changed_calls(self) -> list[str]:
        """Return every call without the key of its operation, or with another input than the first (I7)."""
        found, first = [], dict[tuple[str, Direction, int], Call]()
        for call in self.calls:
            epoch = call.epoch if call.direction is COMPENSATION else 0
            key = f"{call.key}:compensate:{epoch}" if call.direction is COMPENSATION else call.key
            if call.provider_key != key or not call.key.endswith(f":{call.step}"):
                found.append(f"I7: {call.step}, attempt {call.attempt}, has the key {call.provider_key}, not {key}")
            before = first.setdefault((call.key, call.direction, epoch), call)
            if call.input != before.input:
                found.append(
                    f"I7: {call.step}, attempt {call.attempt}, has another input than attempt {before.attempt}"
                )
        return found

    def _play(self, step: StepContext[Any], proceed: Callable[[], None]) -> Any:
        self.calls.append(
            Call(
                step=step.step,
                direction=step.direction,
                key=step.key,
                epoch=step.epoch,
                provider_key=step.provider_key,
                attempt=step.attempt,
                input=step.input,
                results=dict(step.results),
            )
        )
        plan = self.plans[step.step, step.direction]
        behaviour = plan.popleft() if plan else None
        if isinstance(behaviour, BaseException):
            raise behaviour
        if callable(behaviour):
            return behaviour(step, proceed)
        proceed()
        if isinstance(behaviour, After):
            raise behaviour.error
        return behaviour if behaviour is not None else {"by": step.step}

    def _do(self, key: str, participant: str | None, *, external: bool) -> None:
        with connections[database_of(participant)].cursor() as cursor:
            if not external:
                cursor.execute("INSERT INTO engine_test_ledger (key, what) VALUES (%s, 'done')", [key])
                return
            cursor.execute("SELECT what FROM engine_test_ledger WHERE key = %s", [key])
            known = Counter(row[0] for row in cursor.fetchall())
            if known["closed"] and self.closes_keys:
                raise Refused("The key was closed.")
            if known["done"] == known["undone"]:
                cursor.execute("INSERT INTO engine_test_ledger (key, what) VALUES (%s, 'done')", [key])

    def _undo(self, key: str, participant: str | None, *, external: bool) -> None:
        with connections[database_of(participant)].cursor() as cursor:
            cursor.execute("SELECT what FROM engine_test_ledger WHERE key = %s", [key])
            known = Counter(row[0] for row in cursor.fetchall())
            whats = ["undone"] * (known["done"] - known["undone"])
            if external:
                whats += ["closed"] * (not known["closed"])
            elif not whats:
                whats = ["nothing to undo"]
            for what in whats:
                cursor.execute("INSERT INTO engine_test_ledger (key, what) VALUES (%s, %s)", [key, what])


def define(
    name: str = "trip",
    *,
    version: int = 1,
    input: Any = None,
    deadline: timedelta | None = None,
    on_closed: Any = None,
    **steps: Any,
) -> type[SagaDefinition]:
    """Declare a definition from its steps, in order."""
    options = {"name": name, "version": version, "input": input, "deadline": deadline, "on_closed": on_closed}
    meta = type("Meta", (), options)
    return type("Trip", (SagaDefinition,), {"__module__": __name__, "__doc__": "A trip.", "Meta": meta, **steps})


def begin(definition: type[SagaDefinition], input: Any = None, **keys: str) -> Saga:
    """Start a saga and commit."""
    with transaction.atomic(using=ENGINE):
        return advance.start(definition, input, business_keys=keys or {"trip": "T-1"})


def work(saga: Saga, **options: Any) -> Saga:
    """Advance the saga by one task.

    Returns: the saga as stored afterwards.
    """
    look(saga.pk, **options)
    return read(saga.pk)


def step_of(saga: Saga | UUID, name: str) -> SagaStep:
    """Read a step from the database."""
    return SagaStep.objects.get(saga_id=getattr(saga, "pk", saga), name=name)


def states(saga: Saga) -> dict[str, str]:
    """Return the state of every step."""
    return {step.name: step.state for step in SagaStep.objects.filter(saga_id=saga.pk).order_by("position")}


def attempts(saga: Saga, step: str, direction: Direction = ACTION) -> list[SagaAttempt]:
    """Return the attempts of a step in one direction."""
    rows = SagaAttempt.objects.filter(saga_id=saga.pk, step__name=step, direction=direction.value)
    return list(rows.order_by("number"))


def events(saga: Saga, what: str | None = None) -> list[SagaHistory]:
    """Return the history, or its rows of one kind."""
    rows = SagaHistory.objects.filter(saga_id=saga.pk).order_by("number")
    return list(rows.filter(what=what) if what else rows)
