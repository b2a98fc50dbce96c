"""Sagas beside those of the shop: one for its queue, and one in the versions of the process's release."""

import os
from typing import Any

from sagas import Pivot, SagaDefinition, StepContext

from .apps import VERSIONS_VARIABLE
from .versions import declare

OTHER_QUEUE = "elsewhere"


def do_nothing(step: StepContext[Any]) -> None:
    """Do nothing: this saga is never started."""


class ElsewhereSaga(SagaDefinition):
    """Saga that only provides its queue."""

    idle = Pivot(do_nothing, queue=OTHER_QUEUE)

    class Meta:
        name = "chaos-elsewhere"


declare(os.environ.get(VERSIONS_VARIABLE, ""))
