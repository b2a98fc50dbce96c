from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ...events import catalogue, consumer, heartbeat, relay
from ...events.consumer import Tally
from ...events.supervision import as_pairs, declare_catalogue
from ...worker.sweeper import worker_name
from .. import arguments
from ..base import REFUSED, SagaCommand
from ..event_options import add_participants, choose_participants, require_events
from ..stopping import Stop, stoppable


class Command(SagaCommand):
    help = (
        "Consume events and run their handlers, until SIGTERM or Ctrl-C; the event in hand is finished first.\n"
        "With --once, until the broker is empty and nothing stored is due; dead and held events do not count.\n"
        "With --check, exit with code 0 if a consumer of each participant was seen lately on this machine."
    )
    example = "manage.py event_consume --participant payments --participant inventory\n  manage.py event_consume --once"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the participants, how long, and the name of this process."""
        add = parser.add_argument
        add_participants(parser, "consumers")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="stop when nothing is left")
        how.add_argument("--check", action="store_true", help="only check whether consumers are alive, for probes")
        add("--instance", default="", type=arguments.text, metavar="NAME", help="name of this process (host:pid)")

    def run(self, options: Mapping[str, Any]) -> None:
        """Consume, or check, and print the report."""
        require_events()
        chosen = choose_participants(
            options["participant"], catalogue.list_local_consumers(), what="handles", how="consumed"
        )
        if options["check"]:
            self._check(chosen, options)
            return
        with stoppable() as stop:
            tallies = _consume(chosen, options["instance"] or worker_name(), stop, once=options["once"])
        if options["json"]:
            self.print_json({"consumers": {label: _as_dict(tally) for label, tally in tallies.items()}})
            return
        for label, tally in tallies.items():
            counts = ", ".join(f"{count} {result.value.replace('_', ' ')}" for result, count in tally.counts.items())
            self.stdout.write(f"{label}: {counts or 'nothing new'}; {tally.retried} tried again.")
        if stop.is_asked:
            self.stdout.write("Stopped on request.")

    def _check(self, chosen: list[str], options: Mapping[str, Any]) -> None:
        name = options["instance"]
        found = {
            label: heartbeat.is_seen(label, instance=name, host=worker_name().partition(":")[0]) for label in chosen
        }
        if options["json"]:
            self.print_json({"alive": found})
        if missing := [label for label, is_alive in found.items() if not is_alive]:
            raise CommandError(f"No consumer was seen here lately: {', '.join(missing)}.", returncode=REFUSED)
        if not options["json"]:
            self.stdout.write(f"Alive: {', '.join(chosen)}.")


def _consume(chosen: list[str], instance: str, stop: Stop, *, once: bool) -> dict[str, Tally]:
    try:
        if once:
            relay.find_transport().declare(catalogue.list_topics(), as_pairs(catalogue.list_subscriptions()))
        elif not declare_catalogue(should_stop=stop):
            return {}
    finally:
        relay.close_transport()
    return consumer.consume(chosen, instance=instance, should_stop=stop, once=once)


def _as_dict(tally: Tally) -> dict[str, int]:
    return {**{result.value: count for result, count in tally.counts.items()}, "retried": tally.retried}
