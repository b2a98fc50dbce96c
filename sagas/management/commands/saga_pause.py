from ...operators.preconditions import Operation
from ..base import OperatorCommand


class Command(OperatorCommand):
    help = "Pause a saga: steps under way finish and are recorded; nothing else runs until saga_resume."
    example = 'manage.py saga_pause 0198f3a2-5c1e --reason "The provider is being moved"'
    operation = Operation.PAUSE
