from ...operators.event_operations import EventOperation
from ..event_options import EventOperatorCommand


class Command(EventOperatorCommand):
    operation = EventOperation.DISCARD
    help = (
        "Give an event up for one consumer. Events of its key that wait behind it follow.\n"
        "Exit code 1 if it was handled."
    )
    example = 'manage.py event_discard ID --consumer inventory --reason "the order was a test"'
