"""Changes of one saga, collected in memory by the engine or an operation before they are written.

The draft of a locked saga (``unit_of_work``) can be written. A draft made from a snapshot cannot: it only shows what
an operation would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from ...conf import get_settings
from ...core.error_groups import FAILED, identify_group
from ...core.history_events import HistoryEvent
from ...core.outcomes import AttemptView, Report
from ...core.states import Direction, Effect, Outcome
from ...models import Saga, SagaAttempt, SagaStep
from .snapshot import SagaSnapshot
from .statements import STEP_COLUMNS, values_of


class SagaDraft(SagaSnapshot):
    """Saga whose rows may be changed in memory, with the additions to its attempts, history and keys."""

    def __init__(
        self, saga: Saga, steps: list[SagaStep], now: datetime, attempts: list[SagaAttempt] | None = None
    ) -> None:
        super().__init__(saga, steps, now, attempts)
        self._old_saga = (saga.revision, saga.state, saga.history_count)
        self._old_steps = {step.pk: values_of(step, STEP_COLUMNS) for step in steps}
        self._opened: list[SagaAttempt] = []
        self._closed: dict[UUID, dict[str, Any]] = {}
        self._closed_steps: set[int] = set()
        self._history: list[dict[str, Any]] = []
        self._keys: dict[str, str] = {}
        self._raised: list[tuple[int, str, str]] = []

    @staticmethod
    def of(snapshot: SagaSnapshot) -> SagaDraft:
        """Return a draft on a copy of a saga's rows; the snapshot is unchanged."""
        saga, steps = deepcopy((snapshot.saga, snapshot.steps))
        return SagaDraft(saga, steps, snapshot.now, snapshot.attempts())

    @property
    def is_dirty(self) -> bool:
        """Return whether anything but due times would be written."""
        return bool(self._history or self._opened or self._closed or self._changed_steps())

    def bump_revision(self) -> None:
        """Increment the revision once for these changes, so that forms of the old revision become stale."""
        self.saga.revision = self._old_saga[0] + 1

    def add_history(
        self,
        event: HistoryEvent,
        *,
        step: SagaStep | None = None,
        from_state: str = "",
        to_state: str = "",
        actor: str | None = None,
        reason: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a history row, with secrets in reason and data masked; ``actor`` None means the engine."""
        redactor = get_settings().redactor
        self.saga.history_count += 1
        if event in (HistoryEvent.OPERATOR_ACTED, HistoryEvent.NOTE_ADDED):
            self.saga.operated_at = self.now
        self._history.append({
            "saga_id": self.saga.pk, "number": self.saga.history_count, "at": self.now, "what": event.value,
            "step": step.name if step else "", "from_state": from_state, "to_state": to_state, "actor": actor,
            "reason": redactor.redact_text(reason), "data": redactor.redact_data(dict(data or {})),
        })  # fmt: skip

        if event in (HistoryEvent.HELD, HistoryEvent.ATTENTION_RAISED) and actor is None:
            self._raised.append((self.saga.history_count, to_state, step.name if step else ""))

    def add_keys(self, keys: Mapping[str, str]) -> None:
        """Add business keys, with secrets masked; a key of the same name is replaced."""
        self._keys |= get_settings().redactor.redact_data(dict(keys))

    def open_attempt(self, attempt: SagaAttempt) -> None:
        """Add an attempt row."""
        self._opened.append(attempt)

    def close_attempt(
        self, step: SagaStep, token: UUID, report: Report, direction: Direction = Direction.ACTION
    ) -> None:
        """Close the attempt of a token with its outcome; a definite outcome is never changed again."""
        self._closed_steps.add(step.pk)
        self._closed[token] = {
            "ended_at": self.now, "outcome": report.outcome.value, "effect": report.effect.value,
            "settles": report.covers_earlier, "error_class": report.error_class, "message": report.message,
            "traceback": report.traceback, "error_group": self._find_group(step, direction, report),
        }  # fmt: skip

    def assume(self, step: SagaStep, direction: Direction, report: Report, actor: str) -> None:
        """Add an attempt row for an outcome that an operator states."""
        number = self.count_attempt(step, direction)
        self._opened.append(
            SagaAttempt(
                saga_id=self.saga.pk, step_id=step.pk, direction=direction.value, number=number, epoch=step.epoch,
                lease_token=uuid4(), worker=actor[:120], started_at=self.now, deadline_at=self.now, is_assumed=True,
                ended_at=self.now, outcome=report.outcome.value, effect=report.effect.value, settles=True,
                message=report.message,
            )
        )  # fmt: skip

    def count_attempt(self, step: SagaStep, direction: Direction) -> int:
        """Count one more attempt in this direction, and return its number."""
        if direction is Direction.ACTION:
            step.action_attempts += 1
            return step.action_attempts
        step.compensation_attempts += 1
        return step.compensation_attempts

    def _find_group(self, step: SagaStep, direction: Direction, report: Report) -> str:
        if report.outcome not in FAILED or not report.error_class:
            return ""
        return identify_group(self.saga.definition, step.name, direction, report.error_class, report.message)

    def _changed_steps(self) -> list[SagaStep]:
        return [step for step in self.steps if values_of(step, STEP_COLUMNS) != self._old_steps[step.pk]]

    def _read_attempts(self) -> list[SagaAttempt]:
        return [*super()._read_attempts(), *self._opened]

    def _view_attempt(self, attempt: SagaAttempt, step: SagaStep) -> AttemptView:
        view, closed = super()._view_attempt(attempt, step), self._closed.get(attempt.lease_token)
        if closed is None:
            return view
        return replace(
            view,
            outcome=Outcome(closed["outcome"]),
            effect=Effect(closed["effect"]),
            covers_earlier=bool(closed["settles"]),
            ended_at=closed["ended_at"],
        )
