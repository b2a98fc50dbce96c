"""State machine that drives sagas of random definitions by random moves, with checks after each."""

from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections, transaction
from django.test import override_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sagas.core.definition import registry
from sagas.core.definition.saga import SagaDefinition
from sagas.core.states import StepState
from sagas.engine import advance
from sagas.models import Saga, SagaHistory
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.transcript import render
from sagas.worker import sweeper

from .checks import Checker, observe
from .operators import is_true, operate, settle_down
from .specs import SLOW_QUEUE, SPECS, SagaSpec, Undo, define
from .stage import Does, Frozen, Stage
from .virtual import VirtualClock
from .world import ENGINE, World

MAX_SAGAS = 2
MAX_LOOKS = 200  # a saga that is still open after so many tasks never ends
WORKERS: dict[str, frozenset[str] | None] = {"A": None, "B": frozenset({"sagas"}), "C": frozenset({SLOW_QUEUE})}
# Half of all calls succeed: an early failure hides later ones. Frozen workers are the rarest
# behaviour that matters most.
FREEZES = [Does.FREEZES_BEFORE, Does.FREEZES_INSIDE, Does.FREEZES_AFTER]
WORKS = st.just(Does.WORKS)
SCRIPTS = st.lists(st.one_of(WORKS, WORKS, st.sampled_from(Does), st.sampled_from(FREEZES)), min_size=1, max_size=5)
# Abandoning ends a saga, so it is rarer.
OPERATIONS = [operation for operation in Operation if operation is not Operation.ABANDON] * 3 + [Operation.ABANDON]
INDEX = st.integers(0, 5)
WAKEUP_INTERVAL_SECONDS = 6
LONG_SLICE = timedelta(hours=1)


class SagaMachine(RuleBasedStateMachine):
    """Hold the sagas of one run, the world they act on, the workers that stand still, and the wake-ups on their way."""

    apart = "inventory"
    seen: Counter[str] = Counter()
    """What was reached, over all runs: a fault that never acts proves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(apart=self.apart)
        self.stage = Stage(world=self.world, on_call=self._on_call)
        self.checker = Checker(world=self.world, stage=self.stage)
        self.clock = VirtualClock()
        self.specs: dict[UUID, SagaSpec] = {}
        self.removed: dict[UUID, type[SagaDefinition]] = {}
        self.operated: set[UUID] = set()
        self.cancels_at_the_end = self.thaws_last = False
        self.exits = ExitStack()
        self.exits.enter_context(registry.preserved())
        # On a busy machine a look may last longer than a worker's time slice; the script says where it ends.
        self.exits.enter_context(override_settings(SAGAS={**settings.SAGAS, "TIME_SLICE": LONG_SLICE}))
        self.exits.enter_context(self.clock.installed())
        self.exits.enter_context(self.stage.installed())
        self.observer = observe()
        self.exits.callback(self.observer.close)
        self._clean()

    def _clean(self) -> None:
        """Start with an empty world; open sagas of a failed run would fill the page of the sweep."""
        if Saga.objects.filter(closed_at__isnull=True).exists():
            with connections[ENGINE].cursor() as cursor:
                cursor.execute("TRUNCATE sagas_saga CASCADE")
        self.world.prepare()

    @initialize(spec=SPECS, cancels=st.sampled_from([False, False, True]), thaws_last=st.booleans())
    def begin(self, spec: SagaSpec, cancels: bool, thaws_last: bool) -> None:
        """Start the first saga, and settle how the run ends."""
        self.cancels_at_the_end, self.thaws_last = cancels, thaws_last
        self._start(spec)

    @precondition(lambda self: len(self.specs) < MAX_SAGAS)
    @rule(spec=SPECS)
    def start(self, spec: SagaSpec) -> None:
        """Start another saga."""
        self._start(spec)

    @rule(
        index=INDEX,
        worker=st.sampled_from(["A", "A", "B", "C"]),
        script=SCRIPTS,
        waits=st.sampled_from([True, True, False]),
    )
    def look(self, index: int, worker: str, script: list[Does], waits: bool) -> None:
        """Deliver a message that nobody sent, or sent long ago; or wait until the saga is due."""
        saga_id = self._pick(index)
        if waits:
            self._wait_until_due(saga_id)
        self._advance(saga_id, worker, script)

    @precondition(lambda self: self.stage.wakeups)
    @rule(index=INDEX, script=SCRIPTS, fate=st.sampled_from(["arrives", "arrives again later", "all are lost"]))
    def deliver(self, index: int, script: list[Does], fate: str) -> None:
        """Deliver a wake-up to a worker of its queue, now, now and again, or never."""
        wakeups = self.stage.wakeups
        if fate == "all are lost":
            wakeups.clear()
            return
        position = index % len(wakeups)
        saga_id, queue = wakeups[position] if fate == "arrives again later" else wakeups.pop(position)
        self._advance(saga_id, "C" if queue == SLOW_QUEUE else "B", script)

    @rule(script=SCRIPTS)
    def sweep(self, script: list[Does]) -> None:
        """Let a sweeper that executes, too, look at what is due."""
        for due in sweeper.claim_due():
            self._advance(due.id, "A", script)

    @rule(seconds=st.sampled_from([32, 120, 3700]))
    def pass_time(self, seconds: int) -> None:
        """Let time pass: beyond a lease, a deadline, or the hourly look of a compensation."""
        self.clock.move(seconds)

    @precondition(lambda self: self._uncalled())
    @rule(index=INDEX)
    def call_late(self, index: int) -> None:
        """Let a frozen worker call, and freeze again before its record."""
        frozen = self._uncalled()[index % len(self._uncalled())]
        self.operated.add(frozen.claimed.saga_id)
        self.stage.call_late(frozen)

    @precondition(lambda self: self.stage.frozen)
    @rule(index=INDEX)
    def record_late(self, index: int) -> None:
        """Let a frozen worker go on to its end."""
        self._thaw(self.stage.frozen[index % len(self.stage.frozen)])

    @precondition(lambda self: self.stage.frozen)
    @rule(index=INDEX)
    def kill_frozen(self, index: int) -> None:
        """Let a frozen worker die instead, where its late call cannot be beyond what the adapter promised."""
        frozen = self.stage.frozen[index % len(self.stage.frozen)]
        if self._may_die(frozen):
            self.operated.add(frozen.claimed.saga_id)
            self.stage.frozen.remove(frozen)

    @rule(index=INDEX, operation=st.sampled_from(OPERATIONS), step=INDEX, age=st.sampled_from([None, 0, 0, 1]))
    def operate(self, index: int, operation: Operation, step: int, age: int | None) -> None:
        """Let a person act, sometimes on what he saw a while ago."""
        saga_id = self._pick(index)
        specs = self.specs[saga_id].steps
        spec = specs[step % len(specs)]
        if not is_true(self.world, operation, spec, f"{saga_id}:{spec.name}"):
            return
        revision = None if age is None else Saga.objects.get(pk=saga_id).revision - age
        result = operate(self.world, saga_id, operation, spec, revision=revision)
        if result is None:
            return
        if age == 1:
            assert result.is_repeat, f"{operation} acted on a stale revision"
        self.operated.add(saga_id)
        self.seen[f"person: {operation}"] += 1

    @rule(index=INDEX)
    def deploy(self, index: int) -> None:
        """Deploy code that no longer has a definition, or code that has every one."""
        if self.removed:
            self._put_definitions_back()
            return
        saga = Saga.objects.get(pk=self._pick(index))
        self.removed[saga.pk] = registry.get(saga.definition, saga.version)
        registry.forget(saga.definition, saga.version)

    @invariant()
    def holds(self) -> None:
        """Check every saga that was touched, and the stock."""
        for saga_id in sorted(self.operated):
            self._check(saga_id)
        if self.operated:
            missing = self.world.find_missing_stock()
            assert not missing, missing
        self.operated.clear()

    def teardown(self) -> None:
        """Stop the faults, let people answer, and see every saga end right."""
        try:
            self._drain()
        finally:
            self.exits.close()

    def _drain(self) -> None:
        self._put_definitions_back()
        if self.cancels_at_the_end:
            for saga_id in self.specs:
                operate(self.world, saga_id, Operation.CANCEL, self.specs[saga_id].steps[0])
        if not self.thaws_last:
            self._thaw_all()
        self._run_to_the_end()
        self._thaw_all()
        self._run_to_the_end()
        for saga_id, spec in self.specs.items():
            with _transcript_of(saga_id):
                self.checker.check_end(saga_id, spec)
            self.seen.update(f"ended {saga.state}" for saga in Saga.objects.filter(pk=saga_id))
            self.seen.update(SagaHistory.objects.filter(saga_id=saga_id).values_list("what", flat=True))

    def _run_to_the_end(self) -> None:
        """Sweep, work and answer until nothing is open; only what the sweep finds is looked at."""
        for _ in range(MAX_LOOKS):
            still_open = Saga.objects.filter(pk__in=self.specs, closed_at__isnull=True).order_by("pk")
            if not still_open:
                return
            for saga in still_open:
                if settle_down(self.world, saga.pk, self.specs[saga.pk].steps):
                    self._check(saga.pk)
            due = [due for due in sweeper.claim_due() if due.id in self.specs]
            for saga in due:
                self._advance(saga.id, "A", [Does.WORKS] * 10)
                self._check(saga.id)
            times = [saga.due_at for saga in still_open.all() if saga.due_at is not None]
            self.clock.now = max(min(times, default=self.clock.now), self.clock.now)
            self.clock.move(WAKEUP_INTERVAL_SECONDS)
        shown = "\n\n".join(render(saga.pk) for saga in still_open.all())
        raise AssertionError(f"Still open after {MAX_LOOKS} looks:\n{shown}")

    def _wait_until_due(self, saga_id: UUID) -> None:
        due_at = Saga.objects.get(pk=saga_id).due_at
        if due_at is not None and due_at > self.clock.now:
            self.clock.now = due_at

    def _put_definitions_back(self) -> None:
        for definition in self.removed.values():
            registry.register(definition)
        self.removed.clear()

    def _start(self, spec: SagaSpec) -> None:
        definition = define(f"drawn-{len(self.specs) + 1}", spec, self.world)
        with transaction.atomic(using=ENGINE):
            saga = advance.start(definition, business_keys={"run": "1"})
            for step in spec.steps:
                self.stage.specs[saga.pk, step.name] = step
                if step.is_done:
                    self.world.do(step, f"{saga.pk}:{step.name}")
        self.specs[saga.pk] = spec
        self.operated.add(saga.pk)

    def _advance(self, saga_id: UUID, worker: str, script: list[Does]) -> None:
        before = self._read_version(saga_id)
        self.stage.advance(saga_id, script, queues=WORKERS[worker], worker=worker)
        if self.stage.calls or self._read_version(saga_id) != before:
            self.operated.add(saga_id)

    def _read_version(self, saga_id: UUID) -> Any:
        """Return what changes with every write of the engine."""
        return Saga.objects.filter(pk=saga_id).values_list("updated_at", "history_count", "due_at").get()

    def _on_call(self, claimed: Any, spec: Any) -> None:
        self.seen[f"{claimed.direction} {self.stage.doing}"] += 1
        self.checker.check_call(claimed, spec, self.specs[claimed.saga_id], self.observer)

    def _pick(self, index: int) -> UUID:
        return list(self.specs)[index % len(self.specs)]

    def _uncalled(self) -> list[Frozen]:
        return [frozen for frozen in self.stage.frozen if frozen.report is None and not frozen.claimed.joins_engine]

    def _thaw(self, frozen: Frozen) -> None:
        if frozen.report is None and not frozen.claimed.joins_engine:
            self.stage.call_late(frozen)
        self.stage.frozen.remove(frozen)
        self.stage.record_late(frozen)
        self.operated.add(frozen.claimed.saga_id)

    def _thaw_all(self) -> None:
        while self.stage.frozen:
            self._thaw(self.stage.frozen[0])
            self.holds()

    def _may_die(self, frozen: Frozen) -> bool:
        """Return whether the call of a frozen worker, if it was made, is found without its record."""
        saga_id, spec = frozen.claimed.saga_id, frozen.spec
        if not frozen.is_late_effect_possible:
            return True
        if f"{saga_id}:{spec.name}" in self.world.excused:
            return False
        row = Saga.objects.get(pk=saga_id).steps.get(name=spec.name)
        return spec.undo is not Undo.VERIFIES or row.state not in (StepState.COMPENSATING, StepState.COMPENSATED)

    def _check(self, saga_id: UUID) -> None:
        with _transcript_of(saga_id):
            self.checker.check(saga_id, self.specs[saga_id])


class _transcript_of:  # noqa: N801 - reads like a function
    """Add the transcript of a saga to an error of the block."""

    def __init__(self, saga_id: UUID) -> None:
        self.saga_id = saga_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _traceback: Any) -> None:
        if isinstance(error, AssertionError):
            raise AssertionError(f"{error}\n\n{render(self.saga_id)}") from error
