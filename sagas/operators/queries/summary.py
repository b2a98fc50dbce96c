"""Summary of a saga for a project's own code: frozen values, read at one point in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ...conf import get_settings
from ...core.states import SagaState
from ...engine.step_wake import read_id
from ...engine.store.snapshot import SagaSnapshot
from ...models import Saga, SagaKey, SagaStep
from .. import presentation


@dataclass(frozen=True, kw_only=True)
class StepSummary:
    """One step of a saga."""

    name: str
    """Its name in the definition."""
    kind: str
    """compensatable, pivot or retriable."""
    state: str
    """Its state (rule S0)."""
    display_state: str
    """Its display state, as the console shows it."""
    hold: str
    """Why it is held, or an empty string."""
    result: Mapping[str, Any] | None
    """Result of its action, with secrets masked; None: no result, or none yet."""
    action_attempts: int
    """Number of attempts of the action."""
    compensation_attempts: int
    """Number of attempts of the compensation."""
    last_error: str
    """Class and text of the last error, or an empty string."""
    due_at: datetime | None
    """When it is tried again; None when it does not wait."""
    started_at: datetime | None
    """When its first attempt began."""
    finished_at: datetime | None
    """When it succeeded, was refused or was compensated."""


@dataclass(frozen=True, kw_only=True)
class SagaSummary:
    """Saga with its steps."""

    id: UUID
    """The saga's id."""
    definition: str
    """The stored name of its definition."""
    version: int
    """The version it runs on."""
    state: str
    """Its state: pending, running, compensating, completed, compensated or abandoned."""
    display_state: str
    """Its display state, as the console shows it."""
    is_open: bool
    """Whether work is left."""
    needs: tuple[str, ...]
    """Holds and reasons for attention, of the saga and its steps; empty: no operator has to look."""
    business_keys: Mapping[str, str]
    """Business keys by name."""
    input: Mapping[str, Any]
    """Its input as JSON."""
    results: Mapping[str, Mapping[str, Any]]
    """Results of steps, by step."""
    cause: Mapping[str, Any] | None
    """Why it turned back: kind, step, error_class, message, at; None when it did not."""
    effects_left: tuple[Mapping[str, Any], ...]
    """Effects that an abandoned saga left behind, one for each step."""
    started_by: str
    """Who started it, by value."""
    revision: int
    """Grows with every decision; an operation that is given an old one is refused."""
    started_at: datetime
    """When it was started."""
    deadline_at: datetime | None
    """When it should be over."""
    closed_at: datetime | None
    """When it was closed."""
    steps: tuple[StepSummary, ...]
    """Its steps in order."""

    def step(self, name: str) -> StepSummary:
        """Return a step by name.

        Raises: KeyError.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)


def summarize(saga: Saga | UUID | str) -> SagaSummary:
    """Return a saga as stored now, without a lock.

    Raises: SagaNotFound.
    Statements: two.
    """
    snapshot = SagaSnapshot.load(read_id(saga))
    row, steps = snapshot.saga, snapshot.steps
    keys = SagaKey.objects.using(get_settings().database).filter(saga_id=row.pk).order_by("name")
    return SagaSummary(
        id=row.pk,
        definition=row.definition,
        version=row.version,
        state=row.state,
        display_state=presentation.judge_saga(row, steps, snapshot.now).value,
        is_open=SagaState(row.state).is_open,
        needs=tuple(presentation.reasons_of(row, steps)) if row.closed_at is None else (),
        business_keys=dict(keys.values_list("name", "value")),
        input=row.input,
        results={step.name: step.result for step in steps if step.result is not None},
        cause=row.cause,
        effects_left=tuple(row.effects_left or ()),
        started_by=row.started_by,
        revision=row.revision,
        started_at=row.created_at,
        deadline_at=row.deadline_at,
        closed_at=row.closed_at,
        steps=tuple(_summarize_step(snapshot, step) for step in steps),
    )


def _summarize_step(snapshot: SagaSnapshot, step: SagaStep) -> StepSummary:
    return StepSummary(
        name=step.name,
        kind=step.kind,
        state=step.state,
        display_state=presentation.judge_step(step, snapshot.saga).value,
        hold=step.hold or "",
        result=step.result,
        action_attempts=step.action_attempts,
        compensation_attempts=step.compensation_attempts,
        last_error=step.last_error,
        due_at=step.due_at,
        started_at=step.started_at,
        finished_at=step.finished_at,
    )
