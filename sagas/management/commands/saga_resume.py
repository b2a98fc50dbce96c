from ...operators.preconditions import Operation
from ..base import OperatorCommand


class Command(OperatorCommand):
    help = "Resume a paused saga."
    example = 'manage.py saga_resume 0198f3a2-5c1e --reason "The provider has been moved"'
    operation = Operation.RESUME
