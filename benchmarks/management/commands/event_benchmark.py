from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from benchmarks.events import measure
from sagas.management import arguments
from sagas.management.base import SagaCommand


class Command(SagaCommand):
    help = (
        "Measure events per second and latency over Redis, beside a bare loop of the same client.\n"
        "Writes events and rows into the database and the server: use empty ones, as `make bench-events` does."
    )
    example = "manage.py event_benchmark --url redis://127.0.0.1:6379/0"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the server and the number of events."""
        add = parser.add_argument
        add("--url", required=True, help="the Redis or Valkey server")
        add("--events", type=arguments.WholeNumber(1, 1_000_000), default=3_000, metavar="N", help="in each round")
        add("--rounds", type=arguments.WholeNumber(1, 100), default=3, metavar="N", help="best of this many")

    def run(self, options: Mapping[str, Any]) -> None:
        """Measure, and print the figures."""
        found = measure(options["url"], count=options["events"], rounds=options["rounds"])
        if options["json"]:
            self.print_json(vars(found))
            return
        ratio = found.handled / found.bare
        self.stdout.write(f"bare loop     {found.bare:7.0f} events/s")
        self.stdout.write(f"handled       {found.handled:7.0f} events/s, {ratio:.2f} of the bare loop")
        self.stdout.write(f"idle latency  {1000 * found.latency:7.1f} ms from publish to effect (p50)")
