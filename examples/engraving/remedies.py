"""Remedy for operators of an engraving: end the trouble of its job."""

from sagas import RemedyAnswer, StepContext, remedy

from .models import Job
from .services import fix
from .steps import EngravingInput

LABEL = "Fix the problem"
CHANGES = "Ends the trouble of the job, as if the workshop, the cutter or the courier had settled it."


@remedy(
    "fix",
    definition="engraving",
    steps=["book_bench", "cut_stencil", "engrave", "send_mug"],
    label=LABEL,
    changes=CHANGES,
)
@remedy(
    "fix", definition="express_engraving", steps=["book_bench", "engrave", "send_mug"], label=LABEL, changes=CHANGES
)
def fix_job(step: StepContext[EngravingInput]) -> RemedyAnswer:
    """End the trouble of the saga's job."""
    job = Job.objects.get(number=step.input.job)
    fix(job)
    return RemedyAnswer(
        text=f"{job.number} is fixed; its trouble was: {job.get_trouble_display()}.", suggests=["retry"]
    )
