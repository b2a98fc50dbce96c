from ...events.operations import OperationResult, Order, discard_event
from ..event_options import EventOperatorCommand


class Command(EventOperatorCommand):
    help = (
        "Give an event up for one consumer. Events of its key that wait behind it follow.\n"
        "Exit code 1 if it was handled."
    )
    example = 'manage.py event_discard ID --consumer inventory --reason "the order was a test"'

    def perform(self, order: Order) -> OperationResult:
        """Discard the event."""
        return discard_event(order)
