"""Definitions of the engravings."""

from datetime import timedelta

from sagas import Compensatable, Parallel, Pivot, Retriable, RetryPolicy, SagaDefinition, nothing_to_undo

from . import steps

# A step that is retried once an hour stays in its state while users look at it.
HOURLY = RetryPolicy(attempts=20, base=3600, cap=3600)
PATIENT = RetryPolicy(attempts=20)
# Spent within seconds; then retried every ten minutes.
SOON_SPENT = RetryPolicy(attempts=3, base=0.5, cap=2, after_budget=600)
MOMENT = timedelta(seconds=1)


class EngravingSaga(SagaDefinition):
    """Saga that has a mug engraved and sent, or releases everything."""

    note_job = Compensatable(compensation=steps.strike_job)  # written together with the saga
    book_bench = Compensatable(
        steps.book_bench,
        steps.free_bench,
        external=True,
        timeout=MOMENT,
        retry=PATIENT,
        compensation_refuses_on=[steps.BenchNotFreed],
    )
    prepare = Parallel(
        cut_stencil=Compensatable(steps.cut_stencil, nothing_to_undo, external=True, retry=HOURLY),
        pick_mug=Compensatable(steps.pick_mug, nothing_to_undo),
    )
    engrave = Pivot(steps.engrave, external=True, refuses_on=[steps.MugSpoilt])
    send_mug = Retriable(steps.send_mug, external=True, retry=SOON_SPENT, refuses_on=[steps.AddressGone])
    note_sent = Retriable(steps.note_sent)

    class Meta:
        name = "engraving"
        version = 1
        input = steps.EngravingInput


class ExpressEngravingSaga(SagaDefinition):
    """Saga that has a mug engraved within a short deadline."""

    note_job = Compensatable(compensation=steps.strike_job)
    book_bench = Compensatable(steps.book_bench, steps.free_bench, external=True, retry=PATIENT)
    engrave = Pivot(steps.engrave, external=True)
    send_mug = Retriable(steps.send_mug, external=True, retry=HOURLY)
    note_sent = Retriable(steps.note_sent)

    class Meta:
        name = "express_engraving"
        version = 1
        input = steps.EngravingInput
        deadline = timedelta(seconds=25)
