import time
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import CommandParser

from benchmarks.generating import Mass, Written, generate
from sagas.core.definition import registry
from sagas.management import arguments
from sagas.management.base import SagaCommand
from sagas.management.stopping import stoppable

PROGRESS_SECONDS = 5.0
MAX_SAGAS, MAX_DAYS = 100_000_000, 3_650


class Command(SagaCommand):
    help = (
        "Fill an empty database with years of sagas, to measure console, cleanup and queries on it:\n"
        "sagas in every state, with steps, attempts, errors, history and keys.\n"
        "No step is run. Open sagas are due ten years ahead, so no worker picks them up.\n"
        "Refuses a database that holds other sagas. Ctrl-C stops it cleanly."
    )
    example = "manage.py saga_generate --sagas 1000000\n  manage.py saga_generate --sagas 10000 --definition checkout"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the number and kind of sagas."""
        add = parser.add_argument
        add("--sagas", required=True, type=arguments.WholeNumber(1, MAX_SAGAS), metavar="N", help="how many")
        add(
            "--definition",
            action="append",
            default=[],
            type=arguments.definition,
            metavar="NAME[@VERSION]",
            help="only this definition; may be repeated (default: all)",
        )
        add(
            "--days",
            type=arguments.WholeNumber(1, MAX_DAYS),
            default=Mass.days,
            metavar="N",
            help=f"number of days before now in which they were started (default: {Mass.days})",
        )
        add(
            "--open",
            type=arguments.WholeNumber(0, MAX_SAGAS),
            metavar="N",
            help="approximate number of open ones, at most one in twenty (default: one in 250)",
        )
        add("--due", action="store_true", help="leave open sagas due now: workers will run their steps")
        add("--among-others", action="store_true", help="allow a database that holds other sagas")

    def run(self, options: Mapping[str, Any]) -> None:
        """Write the sagas, and print the numbers."""
        mass = Mass(
            sagas=options["sagas"],
            definitions=options["definition"] or registry.all_definitions(),
            days=options["days"],
            open=options["open"],
            is_due=options["due"],
        )
        with stoppable() as stop:
            written = generate(
                mass,
                is_among_others=options["among_others"],
                should_stop=stop,
                progress=self._report_progress(options["verbosity"]),
            )
        if options["json"]:
            self.print_json(vars(written))
            return
        stopped = " Stopped on request." if written.is_stopped else ""
        self.stdout.write(
            f"Wrote {written.sagas} sagas with {written.steps} steps, {written.attempts} attempts and"
            f" {written.history} history rows.{stopped}"
        )

    def _report_progress(self, verbosity: int) -> Callable[[Written], None]:
        reported_at = time.monotonic()

        def show(written: Written) -> None:
            nonlocal reported_at
            if verbosity and time.monotonic() - reported_at >= PROGRESS_SECONDS:
                reported_at = time.monotonic()
                self.stderr.write(f"{written.sagas} sagas written so far.")

        return show
