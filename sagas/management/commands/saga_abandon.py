from ...operators.preconditions import Operation
from ..base import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Give a saga up. Nothing is undone; the list of effects that it leaves behind is stored.\n"
        "See that list first with --dry-run."
    )
    example = 'manage.py saga_abandon 0198f3a2-5c1e --reason "Settled by hand, see ticket 4711" --dry-run'
    operation = Operation.ABANDON
