from ...operators.event_operations import EventOperation
from ..event_options import EventOperatorCommand


class Command(EventOperatorCommand):
    operation = EventOperation.RETRY
    help = (
        "Make a stored event due at once that failed, is dead or waits for another: its consumer runs the\n"
        "handler again. Exit code 1 if it is in no state for that."
    )
    example = 'manage.py event_retry ID --consumer inventory --reason "the shelf was repaired"'
