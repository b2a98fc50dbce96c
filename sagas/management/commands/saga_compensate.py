from ...operators.preconditions import Operation
from ..base import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Compensate a saga: what it has done is undone, in reverse order.\n"
        "Not possible once the pivot is running, succeeded, or its outcome is unknown."
    )
    example = 'manage.py saga_compensate 0198f3a2-5c1e --reason "The customer was promised a refund" --dry-run'
    operation = Operation.COMPENSATE
