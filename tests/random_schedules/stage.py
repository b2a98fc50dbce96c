"""Scripted workers that succeed, fail, die or freeze, and resume later."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from unittest.mock import patch
from uuid import UUID

from django.db import OperationalError, connections

from sagas import InProgress, Misconfigured, OutcomeUnknown, RetryLater, StepContext
from sagas.core.definition.options import StepFunction
from sagas.core.outcomes import Report
from sagas.core.states import Direction
from sagas.engine import advance as engine
from sagas.engine import execute
from sagas.engine.execute import ClaimedStep
from sagas.engine.notify import wakeup_sending
from sagas.exceptions import Fenced, WorkerDied

from .specs import Place, StepSpec
from .world import ENGINE, CannotUndo, World


class Does(StrEnum):
    """What a call of a step function does."""

    WORKS = "works"
    REFUSES = "refuses"
    RETRIES = "retries"
    LOSES_ANSWER = "loses_answer"  # succeeds, and its answer is lost
    DIES_BEFORE = "dies_before"
    DIES_AFTER = "dies_after"
    FREEZES_BEFORE = "freezes_before"
    FREEZES_INSIDE = "freezes_inside"  # behind the barrier, before the call
    FREEZES_AFTER = "freezes_after"  #: before the record
    BREAKS_BEFORE = "breaks_before"
    BREAKS_AFTER = "breaks_after"
    IS_UNKNOWN = "is_unknown"  # nothing happened, and the engine does not know
    RETRIES_LATER = "retries_later"
    IS_IN_PROGRESS = "is_in_progress"
    IS_MISCONFIGURED = "is_misconfigured"
    RETURNS_JUNK = "returns_junk"
    RUNS_TWICE = "runs_twice"
    IS_FENCED = "is_fenced"
    COMMIT_UNANSWERED = "commit_unanswered"  # the COMMIT takes place, its answer is lost
    COMMIT_LOST = "commit_lost"  #: the COMMIT itself is lost


class Died(WorkerDied):
    """Crash of a worker, or the end of its task when it freezes."""


class UndeclaredError(Exception):
    """Undeclared error."""


@dataclass
class Frozen:
    """Worker frozen in the middle of an attempt."""

    claimed: ClaimedStep
    spec: StepSpec
    is_inside: bool = False
    report: Report | None = None
    """Report of its function, once called."""

    @property
    def is_late_effect_possible(self) -> bool:
        """Return whether its call may have happened without a record so far."""
        return self.report is not None and self.claimed.direction is Direction.ACTION


@dataclass
class Stage:
    """Layer between the engine and the step functions."""

    world: World
    on_call: Callable[[ClaimedStep, StepSpec], None]
    """Called before each function that a live attempt runs."""
    specs: dict[tuple[UUID, str], StepSpec] = field(default_factory=dict)
    script: list[Does] = field(default_factory=list)
    calls: int = 0
    frozen: list[Frozen] = field(default_factory=list)
    wakeups: list[tuple[UUID, str]] = field(default_factory=list)
    doing: Does = Does.WORKS
    is_late: bool = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Patch the engine inside the block."""
        real_perform, real_join = execute.execute_step, engine._run_joined

        def perform_step(claimed: ClaimedStep) -> Report:
            return self._perform(claimed, real_perform)

        def run_joined(run: Any, claimed: ClaimedStep) -> Any:
            return self._join(run, claimed, real_join)

        with ExitStack() as stack:
            stack.enter_context(patch.object(execute, "execute_step", perform_step))
            stack.enter_context(patch.object(engine, "_run_joined", run_joined))
            stack.enter_context(patch.object(execute, "intercept", self._intercept))
            stack.enter_context(patch.object(wakeup_sending, "send", lambda pk, to="": self.wakeups.append((pk, to))))
            stack.enter_context(patch.object(engine, "RECORD_PAUSE_SECONDS", 0))
            yield

    def advance(self, saga_id: UUID, script: list[Does], *, queues: frozenset[str] | None, worker: str) -> None:
        """Advance a saga with at most as many attempts as the script has entries."""
        self.script, self.calls = list(script), 0
        try:
            engine.advance(saga_id, queues=queues, worker=worker, should_stop=lambda: self.calls >= len(script))
        except Died:
            pass
        finally:
            self._restore_connections()

    def call_late(self, frozen: Frozen) -> None:
        """Let a frozen worker of a step outside the engine's database continue until the answer."""
        self.is_late = True
        try:
            if frozen.is_inside:
                frozen.report = execute._call(frozen.claimed)
                if frozen.report.effect == "yes" and frozen.spec.place is Place.ANNOUNCED:
                    execute._store(execute._place_of(frozen.claimed), frozen.report.result)
            else:
                frozen.report = execute.execute_step(frozen.claimed)
        finally:
            self.is_late = False

    def record_late(self, frozen: Frozen) -> None:
        """Let a frozen worker continue to its end."""
        run = engine._Run(
            saga_id=frozen.claimed.saga_id, queues=None, worker="thawed", ends_at=float("inf"), should_stop=lambda: True
        )
        self.is_late = True
        try:
            if frozen.claimed.joins_engine:
                following = engine._run_joined(run, frozen.claimed)
            else:
                assert frozen.report is not None
                following = engine._record(run, frozen.claimed, frozen.report)
            engine._wake_others(run, following)
        finally:
            self.is_late = False

    def is_called_unrecorded(self, saga_id: UUID, step: str) -> bool:
        """Return whether a frozen worker has acted under a step key without a record."""
        return any(
            frozen.is_late_effect_possible and (frozen.claimed.saga_id, frozen.claimed.step.name) == (saga_id, step)
            for frozen in self.frozen
        )

    def _take(self, claimed: ClaimedStep) -> StepSpec:
        self.calls += 1
        self.doing = self.script.pop(0) if self.script else Does.WORKS
        spec = self.specs[claimed.saga_id, claimed.step.name]
        self.on_call(claimed, spec)
        return spec

    def _freeze(self, claimed: ClaimedStep, spec: StepSpec, **facts: Any) -> None:
        self.frozen.append(Frozen(claimed=claimed, spec=spec, **facts))
        raise Died(f"frozen in {claimed.step.name}")

    def _perform(self, claimed: ClaimedStep, real: Callable[[ClaimedStep], Report]) -> Report:
        if self.is_late:
            return real(claimed)
        spec = self._take(claimed)
        if self.doing is Does.FREEZES_BEFORE or (self.doing is Does.FREEZES_INSIDE and spec.place is Place.APART):
            self._freeze(claimed, spec)
        alias = self.world.apart if spec.place is Place.APART else ENGINE
        if alias != ENGINE:
            self._break_commit(alias)
        report = real(claimed)
        if self.doing is Does.FREEZES_AFTER:
            self._freeze(claimed, spec, report=report)
        if alias == ENGINE:
            self._break_commit(alias)
        return report

    def _join(self, run: Any, claimed: ClaimedStep, real: Callable[[Any, ClaimedStep], Any]) -> Any:
        if not self.is_late:
            spec = self._take(claimed)
            if self.doing in (Does.FREEZES_BEFORE, Does.FREEZES_INSIDE, Does.FREEZES_AFTER):
                self._freeze(claimed, spec)
            self._break_commit(ENGINE)
        return real(run, claimed)

    def _intercept(self, claimed: ClaimedStep, function: StepFunction) -> StepFunction:
        if self.is_late:
            return function
        spec = self.specs[claimed.saga_id, claimed.step.name]
        if self.doing is Does.FREEZES_INSIDE:
            self._freeze(claimed, spec, is_inside=True)
        return lambda context: self._play(spec, claimed.direction, function, context)

    def _play(self, spec: StepSpec, direction: Direction, function: StepFunction, context: StepContext[Any]) -> Any:
        does, is_external = self.doing, spec.place.is_external
        if does is Does.REFUSES:
            if direction is Direction.COMPENSATION:
                raise CannotUndo("The participant says no.")
            self.world.refuse(spec, context.key)
        elif does is Does.IS_FENCED and is_external and direction is Direction.ACTION:
            if not self.world.provider.done[context.key]:
                self.world.provider.closed.add(context.key)
                raise Fenced("A tombstone.")
        elif does in BEFORE:
            raise make_error(BEFORE, does)
        result = function(context)
        if does is Does.RUNS_TWICE and is_external:
            return function(context)
        if does in AFTER:
            raise make_error(AFTER, does)
        return "junk" if does is Does.RETURNS_JUNK else result

    def _break_commit(self, alias: str) -> None:
        """Break the next COMMIT on a connection if the script says so."""
        if self.doing not in (Does.COMMIT_LOST, Does.COMMIT_UNANSWERED):
            return
        connection, does_commit = connections[alias], self.doing is Does.COMMIT_UNANSWERED

        def commit() -> None:
            del connection.commit
            if does_commit:
                connection.commit()
            raise OperationalError("server closed the connection unexpectedly")

        connection.commit = commit  # type: ignore[method-assign]

    def _restore_connections(self) -> None:
        for alias in {ENGINE, self.world.apart}:
            vars(connections[alias]).pop("commit", None)


def make_error(errors: dict[Does, Callable[[], BaseException]], does: Does) -> BaseException:
    """Return a new error of a kind, as a raised one keeps its traceback."""
    return errors[does]()


BEFORE: dict[Does, Callable[[], BaseException]] = {
    Does.DIES_BEFORE: lambda: Died("before"),
    Does.BREAKS_BEFORE: lambda: UndeclaredError("before"),
    Does.RETRIES: lambda: RetryLater("scripted"),
    Does.RETRIES_LATER: lambda: RetryLater("scripted", after=20),
    Does.IS_IN_PROGRESS: lambda: InProgress("scripted", poll_after=15),
    Does.IS_MISCONFIGURED: lambda: Misconfigured("scripted"),
    Does.IS_UNKNOWN: lambda: OutcomeUnknown("scripted"),
}
AFTER: dict[Does, Callable[[], BaseException]] = {
    Does.DIES_AFTER: lambda: Died("after"),
    Does.BREAKS_AFTER: lambda: UndeclaredError("after"),
    Does.LOSES_ANSWER: lambda: OutcomeUnknown("scripted"),
}
