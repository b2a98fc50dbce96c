"""Name a queue that no saga of the shop uses, so that a worker can serve it."""

from __future__ import annotations

from typing import Any

from sagas import Pivot, SagaDefinition, StepContext

OTHER_QUEUE = "elsewhere"


def do_nothing(step: StepContext[Any]) -> None:
    """Nobody starts this saga."""


class ElsewhereSaga(SagaDefinition):
    """Be there for its queue alone."""

    idle = Pivot(do_nothing, queue=OTHER_QUEUE)

    class Meta:
        name = "chaos-elsewhere"
