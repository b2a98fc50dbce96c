from ...operators.preconditions import Operation
from ..base import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Abandon a saga: nothing is undone, and the list of effects that it leaves behind is stored.\n"
        "Preview that list with --dry-run."
    )
    example = 'manage.py saga_abandon 0198f3a2-5c1e --reason "Settled by hand, see ticket 4711" --dry-run'
    operation = Operation.ABANDON
