"""The version of the engraving that is deployed tomorrow: no worker of the demo has it, and one saga needs it.

Imported by whoever starts that saga, and by ``manage.py workshop_deploy``, which plays the deployment.
"""

from __future__ import annotations

from sagas import Compensatable, Pivot, Retriable, SagaDefinition

from . import steps
from .sagas import PATIENT


class GiftEngravingSaga(SagaDefinition):
    """Have a mug engraved, wrapped and sent."""

    note_job = Compensatable(compensation=steps.strike_job)
    book_bench = Compensatable(steps.book_bench, steps.free_bench, external=True, retry=PATIENT)
    engrave = Pivot(steps.engrave, external=True)
    wrap_mug = Retriable(steps.pick_mug)
    send_mug = Retriable(steps.send_mug, external=True)
    note_sent = Retriable(steps.note_sent)

    class Meta:
        name = "engraving"
        version = 2
        input = steps.EngravingInput
