"""Workers frozen in the middle of a step: their lease expires, and they report later all the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sagas.core.outcomes import Report
from sagas.engine import execute
from sagas.engine.advance import _record, _Run
from sagas.engine.execute import ClaimedStep
from sagas.models import Saga
from sagas.testing import SimulatedCrash
from sagas.testing.drain import look, pass_time

from .world import work

# Longer than a lease.
LEASE = timedelta(seconds=31)


@dataclass
class FrozenWorker:
    """Claim of a frozen worker, and the report of its function once it was called."""

    claimed: ClaimedStep | None = None
    report: Report | None = None

    def thaw(self) -> None:
        """Resume the worker: call the function unless it was called before, and record under the stale token."""
        assert self.claimed is not None, "the worker was never frozen"
        if self.report is None:
            self.report = execute.execute_step(self.claimed)
        _record(_run_of(self.claimed), self.claimed, self.report)


def freeze(saga: Saga, step: str, *, before_call: bool = False, compensation: bool = False) -> FrozenWorker:
    """Let a worker claim a step of the saga and freeze inside it.

    ``before_call``: after the claim and before the function; else after the function returned and before the record.
    """
    worker = FrozenWorker()
    real = execute.execute_step

    def stop(claimed: ClaimedStep) -> Report:
        is_meant = claimed.step.name == step and (claimed.direction.value == "compensation") is compensation
        if not is_meant or worker.claimed is not None:
            return real(claimed)
        worker.claimed = claimed
        if not before_call:
            worker.report = real(claimed)
        raise SimulatedCrash(step)

    with _replaced(stop):
        look(saga.pk, worker="frozen")
    assert worker.claimed is not None, f"{step} was never claimed"
    return worker


def lose_lease(saga: Saga) -> Saga:
    """Let the lease of the frozen worker expire, and another worker notice."""
    pass_time(LEASE)
    return work(saga)


@contextmanager
def _replaced(function: Callable[[ClaimedStep], Report]) -> Iterator[None]:
    real, execute.execute_step = execute.execute_step, function
    try:
        yield
    finally:
        execute.execute_step = real


def _run_of(claimed: ClaimedStep) -> Any:
    return _Run(saga_id=claimed.saga_id, queues=None, worker="frozen", ends_at=float("inf"), should_stop=lambda: True)
