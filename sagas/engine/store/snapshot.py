"""Snapshot of one saga, for preconditions, previews, pages and invariants. Nothing here changes or writes it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from ... import clock
from ...conf import get_settings
from ...core.definition import registry
from ...core.definition.saga import SagaDefinition
from ...core.outcomes import AttemptView, compute_effect
from ...core.planner import SagaView, StepView
from ...core.severity import Severity, judge_severity
from ...core.states import AbortRequest, Direction, Effect, Hold, Kind, Outcome, SagaState, StepState
from ...exceptions import SagaNotFound
from ...models import Saga, SagaAttempt, SagaStep
from ...models.fields import database_now
from .compiled import CompiledQuery

# Effects of choreographed steps; what a participant owes may have happened.
REPORTED_EFFECTS = {
    StepState.WAITING: Effect.MAYBE, StepState.SUCCEEDED: Effect.YES, StepState.COMPENSATING: Effect.YES,
    StepState.COMPENSATED: Effect.REMOVED,
}  # fmt: skip


def _select_attempts(using: str, saga_id: UUID) -> QuerySet[SagaAttempt]:
    attempts = SagaAttempt.objects.using(using).filter(saga_id=saga_id)
    return attempts.defer("message", "traceback").order_by("id")


_ATTEMPTS = CompiledQuery(SagaAttempt, _select_attempts)


class SagaSnapshot:
    """Saga with its steps in order, its lazily read attempts, and the time at which it was read."""

    def __init__(
        self, saga: Saga, steps: list[SagaStep], now: datetime, attempts: list[SagaAttempt] | None = None
    ) -> None:
        self.saga = saga
        self.steps = steps
        self.now = now
        self.definition: type[SagaDefinition] | None = _find_definition(saga, steps)
        self._attempts = attempts

    @classmethod
    def load(cls, saga_id: UUID) -> SagaSnapshot:
        """Return a saga, read without a lock so that workers are not held up.

        Raises: SagaNotFound.
        """
        snapshot = cls.find(saga_id)
        if snapshot is None:
            raise SagaNotFound(f"There is no saga {saga_id}.")
        return snapshot

    @classmethod
    def find(cls, saga_id: UUID) -> SagaSnapshot | None:
        """Return a saga, read without a lock, or None when there is no such saga.

        Saga and steps come from one statement, so they are consistent; only a saga without steps needs another one.
        """
        using = get_settings().database
        now = database_now()
        rows = SagaStep.objects.using(using).filter(saga_id=saga_id).select_related("saga")
        steps = list(rows.order_by("position").annotate(db_now=now))
        if steps:
            for step in steps:
                step.saga = steps[0].saga  # one row, so that a copy of the steps copies it once
            return SagaSnapshot(steps[0].saga, list[SagaStep](steps), clock.shifted(steps[0].db_now))
        saga = Saga.objects.using(using).annotate(db_now=now).filter(pk=saga_id).first()
        return SagaSnapshot(saga, [], clock.shifted(saga.db_now)) if saga is not None else None

    def step(self, name: str) -> SagaStep:
        """Return a step row by name.

        Raises: KeyError.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def severity(self) -> Severity:
        """Return how severe the saga's holds and reasons for attention are."""
        reasons = {self.saga.hold, *(step.hold for step in self.steps), *self.saga.attention}
        return judge_severity(self.saga.state, (reason for reason in reasons if reason))

    def view(self) -> SagaView:
        """Return the saga as the planner sees it."""
        saga = self.saga
        return SagaView(
            state=SagaState(saga.state),
            hold=Hold(saga.hold) if saga.hold else None,
            abort_request=AbortRequest(saga.abort_request) if saga.abort_request else None,
            steps=tuple(_view_of(step) for step in self.steps),
        )

    def effects(self) -> dict[str, Effect]:
        """Return the effect of each step by name: from its attempts, or from the events that told its state."""
        if self.saga.is_choreographed:
            return {step.name: REPORTED_EFFECTS.get(step.state, Effect.NONE) for step in self.steps}
        by_step: dict[int, list[SagaAttempt]] = {step.pk: [] for step in self.steps}
        for attempt in self._read_attempts():
            if attempt.direction == Direction.ACTION:
                by_step[attempt.step_id].append(attempt)
        effects = {}
        for step in self.steps:
            effect = compute_effect(self._view_attempt(attempt, step) for attempt in by_step[step.pk])
            is_removed = step.state == StepState.COMPENSATED
            effects[step.name] = Effect.REMOVED if is_removed else effect
        return effects

    def attempts(self) -> list[SagaAttempt]:
        """Return the attempts of every step, in order, as stored, without messages and tracebacks."""
        return list(self._read_attempts())

    def attempts_of(self, step: SagaStep, direction: Direction) -> list[SagaAttempt]:
        """Return the attempts of one direction, in order, as stored."""
        return [a for a in self._read_attempts() if a.step_id == step.pk and a.direction == direction]

    def find_attempt(self, token: UUID) -> SagaAttempt | None:
        """Return the attempt of a lease token, or None."""
        return next((attempt for attempt in self._read_attempts() if attempt.lease_token == token), None)

    def _read_attempts(self) -> list[SagaAttempt]:
        if self._attempts is None:
            self._attempts = _ATTEMPTS.fetch(get_settings().database, self.saga.pk)
        return self._attempts

    def _view_attempt(self, attempt: SagaAttempt, step: SagaStep) -> AttemptView:
        return AttemptView(
            outcome=Outcome(attempt.outcome) if attempt.outcome else None,
            effect=Effect(attempt.effect),
            covers_earlier=attempt.settles,
            ended_at=attempt.ended_at,
            is_last_word=attempt.is_assumed and step.kind == Kind.PIVOT,
        )


def _find_definition(saga: Saga, steps: list[SagaStep]) -> type[SagaDefinition] | None:
    """Return the definition of a saga, or None when the code does not have it with these steps."""
    definition = registry.find(saga.definition, saga.version)
    if definition is None or [step.name for step in steps] != [step.name for step in definition.steps]:
        return None
    return definition


def _view_of(step: SagaStep) -> StepView:
    return StepView(
        name=step.name,
        rank=step.rank,
        kind=Kind(step.kind),
        state=StepState(step.state),
        hold=Hold(step.hold) if step.hold else None,
        due_at=step.due_at,
        lease_until=step.lease_until,
    )
