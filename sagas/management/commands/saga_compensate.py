from ...operators.preconditions import Operation
from ..base import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Turn a saga back: what it has done is compensated, in reverse order.\n"
        "Not possible once the pivot is live, unknown or passed."
    )
    example = 'manage.py saga_compensate 0198f3a2-5c1e --reason "The customer was promised a refund" --dry-run'
    operation = Operation.COMPENSATE
