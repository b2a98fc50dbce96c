from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...core.text_tables import Column
from ...events.listing import DEFAULT_LIMIT, MAX_LIMIT, STATES, EventFilter, ListedEvent, list_events
from .. import arguments
from ..base import SagaCommand
from ..event_options import require_events

COLUMNS = (
    Column(title="ID"),
    Column(title="TYPE", least=14),
    Column(title="KEY", least=10),
    Column(title="OUTBOX"),
    Column(title="INBOXES", least=20),
    Column(title="LAST ERROR", least=20),
    Column(title="WRITTEN"),
    Column(title="SOURCE", least=12),
)


class Command(SagaCommand):
    help = (
        "List events, newest first, with their state in the sender's outbox and in each consumer's inbox;\n"
        "--wide prints every column in full, --json is for programs."
    )
    example = (
        "manage.py event_list --key ORD-7K\n  manage.py event_list --status dead --participant inventory --limit 20"
    )
    prints_table = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the filter and the limit."""
        add = parser.add_argument
        add("--key", default="", type=arguments.text, metavar="K", help="only events of this key")
        add("--correlation", default="", type=arguments.text, metavar="ID", help="only events of this correlation id")
        add("--type", default="", type=arguments.text, metavar="T", help="only events of this name")
        add("--status", default="", choices=STATES, help="only events in this state, in an outbox or an inbox")
        add("--participant", default="", type=arguments.text, metavar="P", help="only events sent or received by it")
        add(
            "--limit",
            type=arguments.WholeNumber(1, MAX_LIMIT),
            default=DEFAULT_LIMIT,
            metavar="N",
            help=f"maximum number of events, up to {MAX_LIMIT} (default: {DEFAULT_LIMIT})",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """List the events."""
        require_events()
        wanted = EventFilter(
            key=options["key"],
            type=options["type"],
            state=options["status"],
            participant=options["participant"],
            correlation_id=options["correlation"],
        )
        page = list_events(wanted, options["limit"])
        found = page.events
        for alias, reason in page.unreachable.items():
            self.stderr.write(f"Database {alias} is unreachable, so its events and states are missing: {reason}")
        if options["json"]:
            self.print_json([event.as_dict() for event in found])
        elif found:
            self.print_table(COLUMNS, [_describe(event) for event in found], options)
        else:
            self.stdout.write("No matching events.")


def _describe(event: ListedEvent) -> tuple[str, ...]:
    return (
        event.id,
        event.type or "-",
        event.key or "-",
        event.outbox or "-",
        " ".join(f"{consumer}={state}" for consumer, state in event.inboxes.items()) or "-",
        "; ".join(f"{where}: {error}" for where, error in event.errors.items()) or "-",
        f"{event.at:%Y-%m-%d %H:%M:%S}",
        event.source or "-",
    )
