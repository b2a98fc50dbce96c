"""Next version of the engraving: no worker of the demo has it, and one saga needs it.

Imported where that saga is started, and by ``manage.py workshop_deploy``, which simulates the deployment.
"""

from sagas import Compensatable, Pivot, Retriable, SagaDefinition

from . import steps
from .sagas import PATIENT


class GiftEngravingSaga(SagaDefinition):
    """Saga that has a mug engraved, wrapped and sent."""

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
