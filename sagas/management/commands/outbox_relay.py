from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...engine.notify import alert_dispatch
from ...events import catalogue, relay
from ...events.overview import read_overview
from ...events.supervision import declare_catalogue, supervise
from ..base import SagaCommand
from ..event_options import add_participants, choose_participants, list_relay_databases, require_events
from ..stopping import stoppable


class Command(SagaCommand):
    help = (
        "Send what the outboxes hold; with --loop, until SIGTERM or Ctrl-C, and also send again what the\n"
        "broker lost, trim topics and raise alerts, as Celery workers do. Participants of one database are\n"
        "relayed together. Exit code 1 if the broker does not answer (without --loop)."
    )
    example = "manage.py outbox_relay --loop\n  manage.py outbox_relay --participant orders --dry-run"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the loop and the participants."""
        parser.add_argument("--loop", action="store_true", help="repeat until stopped")
        add_participants(parser, "outboxes")
        parser.add_argument("--dry-run", action="store_true", help="count what is unsent, and send nothing")

    def run(self, options: Mapping[str, Any]) -> None:
        """Relay once or in a loop, and print how many events were sent."""
        require_events()
        chosen = choose_participants(
            options["participant"], catalogue.list_local_senders(), what="publishes", how="sent from"
        )
        aliases = list_relay_databases(chosen)
        if options["dry_run"]:
            self._print_unsent(chosen, aliases, options)
            return
        with stoppable() as stop:
            sent = dict.fromkeys(aliases, 0)
            try:
                if options["loop"]:
                    if declare_catalogue(should_stop=stop):
                        sent = supervise(aliases, should_stop=stop, announce=alert_dispatch.announce)
                else:
                    relay.find_transport().declare(catalogue.list_topics(), [])
                    sent = {alias: relay.relay_all(alias, should_stop=stop) for alias in aliases}
            finally:
                relay.close_transport()
        if options["json"]:
            self.print_json({"sent": sent, "is_stopped": stop.is_asked})
        else:
            stopped = " Stopped on request." if stop.is_asked else ""
            self.stdout.write(f"Sent {sum(sent.values())} events.{stopped}")

    def _print_unsent(self, chosen: list[str], aliases: list[str], options: Mapping[str, Any]) -> None:
        senders = [sender for alias in aliases for sender in read_overview(alias).senders]
        found = {one.participant: one.unsent.count for one in senders if one.participant in chosen}
        if options["json"]:
            self.print_json({"unsent": found})
        else:
            self.print_lines([f"{count} events of {label} are unsent." for label, count in found.items()])
