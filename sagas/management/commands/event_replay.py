from ...operators.event_operations import EventOperation
from ..event_options import EventOperatorCommand


class Command(EventOperatorCommand):
    operation = EventOperation.REPLAY
    help = (
        "Send an event again under the same id, which whoever has it ignores; or with --consumer, run that\n"
        "consumer's handler again on the body in its inbox, where its guards decide. Exit code 1 if that is\n"
        "refused, or if the handler fails; then nothing is changed."
    )
    example = (
        'manage.py event_replay ID --reason "the topic was deleted"\n'
        '  manage.py event_replay ID --consumer shipping --reason "the address was corrected"'
    )
    needs_consumer = False
