"""Arguments and base class that the commands of events share."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.core.management.base import CommandParser
from django.db import Error

from ..events import catalogue
from ..events.settings import get_event_settings
from ..exceptions import BadRequest, OperationRefused
from ..operators import event_operations
from ..operators.actor import Actor
from ..operators.event_operations import EventOperation
from . import arguments
from .base import SagaCommand, check_words, first_line


def require_events() -> None:
    """Check that events are on.

    Raises: OperationRefused.
    """
    if not get_event_settings().are_on:
        raise OperationRefused("Events are off. Set SAGAS['EVENTS']['URL'] to the broker's URL.")


def add_participants(parser: CommandParser, what: str) -> None:
    """Add ``--participant``."""
    parser.add_argument(
        "--participant",
        action="append",
        default=[],
        type=arguments.text,
        metavar="P",
        help=f"only {what} of this app; may be repeated (default: all that run here)",
    )


def choose_participants(given: list[str], known: list[str], *, what: str, how: str) -> list[str]:
    """Return the chosen participants, or all.

    Raises: BadRequest for one that is not among them; OperationRefused when there are none at all.
    """
    if not known:
        raise OperationRefused(
            f"No participant that runs here {what} an event. Declare events in <app>/events.py and handlers in"
            " <app>/handlers.py, and see SAGAS['EVENTS']['PARTICIPANTS']."
        )
    for label in given:
        if label not in known:
            raise BadRequest(f"{label!r} {what} no event that is {how} here; participants: {', '.join(known)}.")
    return sorted(set(given)) or known


class EventOperatorCommand(SagaCommand):
    """Base of the commands that perform an operation on an event."""

    operation: ClassVar[EventOperation]
    needs_consumer: ClassVar[bool] = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the event, its consumer, actor and reason."""
        add = parser.add_argument
        add("id", metavar="ID", type=arguments.text, help="the event's id; event_list shows it")
        add(
            "--consumer",
            required=self.needs_consumer,
            default="",
            type=arguments.text,
            metavar="C",
            help="app label of the participant whose inbox is meant"
            + ("" if self.needs_consumer else " (default: the event is sent again to all)"),
        )
        add("--source", default="", type=arguments.text, metavar="S", help="the source, if two senders used one id")
        add("--reason", required=True, type=arguments.text, metavar="TEXT", help="why, 10 to 500 characters; stored")
        add("--user", type=arguments.text, metavar="NAME", help="act as this account, with its permissions")
        add("--dry-run", action="store_true", help="check and describe it, and change nothing")

    def run(self, options: Mapping[str, Any]) -> None:
        """Perform the operation, or describe it."""
        require_events()
        check_words(options)
        actor = Actor.of_command_line(options["user"])
        place = {"consumer": options["consumer"], "source": options["source"]}
        if options["dry_run"]:
            result = event_operations.plan(self.operation, options["id"], actor=actor, **place)
        else:
            reason = options["reason"]
            result = event_operations.operate(self.operation, options["id"], actor=actor, reason=reason, **place)
        if options["json"]:
            self.print_json(result.as_dict())
        else:
            self.stdout.write(f"{'Dry run: ' if result.is_trial else ''}{result.message}")

    def describe_failure(self, error: Error) -> str:
        """Return a message that it is unknown whether the operation was performed."""
        return f"The database failed: {first_line(error)}. Check with event_list whether it was done."


def list_relay_databases(participants: list[str]) -> list[str]:
    """Return the databases of senders, without repeats."""
    return list(dict.fromkeys(map(catalogue.database_of, participants)))
