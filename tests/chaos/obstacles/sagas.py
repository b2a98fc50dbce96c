"""Declare sagas beside those of the shop: one for its queue, and one in the versions that the process's code has."""

import os
from typing import Any

from sagas import Pivot, SagaDefinition, StepContext

from .apps import VERSIONS_VARIABLE
from .versions import declare

OTHER_QUEUE = "elsewhere"


def do_nothing(step: StepContext[Any]) -> None:
    """Nobody starts this saga."""


class ElsewhereSaga(SagaDefinition):
    """There for its queue alone."""

    idle = Pivot(do_nothing, queue=OTHER_QUEUE)

    class Meta:
        name = "chaos-elsewhere"


declare(os.environ.get(VERSIONS_VARIABLE, ""))
