from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...conf import get_settings
from .. import arguments
from ..base import SagaCommand
from ..stopping import stoppable
from ..sweeping import SweepReport, sweep


class Command(SagaCommand):
    help = (
        "Find due sagas without a wake-up, and wake them; with --run, execute them in this process,\n"
        "without a broker. Runs once, or with --loop until SIGTERM or Ctrl-C; the step under way is\n"
        "finished and recorded first."
    )
    example = "manage.py saga_sweep --loop --run\n  manage.py saga_sweep --run --queue payments --queue sagas"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the loop, its interval, execution and the queues."""
        add = parser.add_argument
        add("--loop", action="store_true", help="repeat until stopped")
        add(
            "--interval",
            type=arguments.interval_seconds,
            metavar="S",
            help="seconds between sweeps with --loop (default: SAGAS['SWEEP_INTERVAL'])",
        )
        add("--run", action="store_true", help="execute due work until none is left")
        add(
            "--queue",
            action="append",
            type=arguments.queue_name,
            metavar="Q",
            help="only work that is due in this queue; may be repeated (default: all)",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """Sweep once or in a loop, and print the report."""
        interval = options["interval"] or get_settings().sweep_interval.total_seconds()
        queues = frozenset(options["queue"]) if options["queue"] else None
        with stoppable() as stop:
            report = sweep(
                runs=options["run"],
                queues=queues,
                interval_seconds=interval if options["loop"] else None,
                stop=stop,
            )
        self._print(report, options)

    def _print(self, report: SweepReport, options: Mapping[str, Any]) -> None:
        if options["json"]:
            self.print_json(
                {"sweeps": report.sweeps, "found": report.found, "ran": options["run"], "is_stopped": report.is_stopped}
            )
            return
        done = "Handled" if options["run"] else "Woke"
        stopped = " Stopped on request." if report.is_stopped else ""
        self.stdout.write(f"{done} {report.found} due sagas in {report.sweeps} sweeps.{stopped}")
