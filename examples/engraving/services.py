"""Services that place jobs and end their troubles."""

from uuid import UUID

from django.db import transaction

from sagas import SagaDefinition
from sagas.engine.advance import start

from .models import Job
from .steps import EngravingInput
from .troubles import Trouble


def place_job(definition: type[SagaDefinition], *, number: str, trouble: Trouble, customer: str) -> UUID:
    """Start an engraving together with its job, or find the one placed earlier under this number.

    Returns: the id of its saga.
    Tx: opens one.
    """
    known = Job.objects.filter(number=number).first()
    if known is not None:
        return known.saga_id
    with transaction.atomic():
        saga = start(
            definition,
            EngravingInput(job=number),
            business_keys={"job": number, "customer": customer},
            actor=customer,
        )
        Job.objects.create(number=number, text="To the best of teas", trouble=trouble, saga_id=saga.pk)
    return saga.pk


def fix(job: Job) -> None:
    """End the trouble of a job; the saga notices at its next attempt."""
    Job.objects.filter(pk=job.pk).update(trouble=Trouble.NONE)
