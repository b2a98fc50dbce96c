from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from benchmarks.checkouts import Cost, measure
from sagas.management import arguments
from sagas.management.base import SagaCommand


class Command(SagaCommand):
    help = (
        "Measure CPU time and commits of a choreographed checkout, beside an orchestrated one.\n"
        "Writes orders and events into the database and the server: use empty ones, as `make bench` does."
    )
    example = "manage.py checkout_benchmark --url redis://127.0.0.1:6379/0"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the server and the number of orders."""
        add = parser.add_argument
        add("--url", required=True, help="the Redis or Valkey server")
        add("--orders", type=arguments.WholeNumber(1, 100_000), default=200, metavar="N", help="in each round")
        add("--rounds", type=arguments.WholeNumber(1, 100), default=3, metavar="N", help="best of this many")

    def run(self, options: Mapping[str, Any]) -> None:
        """Measure, and print the figures."""
        found = measure(options["url"], count=options["orders"], rounds=options["rounds"])
        if options["json"]:
            self.print_json(asdict(found))
            return
        self._show("orchestrated ", found.orchestrated)
        self._show("choreographed", found.choreographed)

    def _show(self, style: str, cost: Cost) -> None:
        total = cost.process + cost.server
        self.stdout.write(
            f"{style} {1000 * total:6.1f} ms CPU a checkout ({1000 * cost.server:.1f} of them PostgreSQL),"
            f" {cost.commits:5.1f} commits"
        )
