from ...operators.preconditions import Operation
from ..base import OperatorCommand


class Command(OperatorCommand):
    help = "Cancel a saga: compensate it at once, or as soon as it is known that the pivot did not happen."
    example = 'manage.py saga_cancel 0198f3a2-5c1e --reason "The customer changed their mind"'
    operation = Operation.CANCEL
