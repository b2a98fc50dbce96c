"""Command that runs a definition under every single fault, on a test database of its own."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.test.runner import DiscoverRunner
from django.test.utils import override_settings
from django.utils.module_loading import autodiscover_modules

from ...testing import Verdict, explore, render_exploration
from ...testing.scenario import get_scenario
from ...testing.verdicts import as_rows
from ..base import REFUSED, SagaCommand


class Command(SagaCommand):
    help = (
        "Run a definition under every single fault: refusals, crashes, lost, repeated and late answers, and\n"
        "operators who interfere, at every step and in both directions; judge how each run ends. Uses the\n"
        "scenario of <app>/saga_scenarios.py and a temporary test database. Exit code 1 if any run ended wrong."
    )
    example = "manage.py saga_explore checkout\n  manage.py saga_explore checkout --json > verdicts.json"
    prints_table = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the definition's name."""
        parser.add_argument("definition", metavar="DEFINITION", help="the definition's stored name")

    def run(self, options: Mapping[str, Any]) -> None:
        """Explore and print the verdicts; on stderr a dot for each trial, F for a wrong one, - for one not possible."""
        autodiscover_modules("saga_scenarios")
        scenario = get_scenario(options["definition"])
        with _test_databases(), _quiet_logs():
            exploration = explore(scenario, report=self._show_progress)
        self.stderr.write("")
        if options["json"]:
            self.print_json(as_rows(exploration))
        else:
            self.print_text(render_exploration(exploration, width=self.find_width(options)))
        if exploration.wrong:
            raise CommandError(
                f"{len(exploration.wrong)} of {len(exploration.verdicts)} trials ended wrong.", returncode=REFUSED
            )

    def _show_progress(self, verdict: Verdict) -> None:
        self.stderr.write("F" if verdict.is_wrong else "." if verdict.was_possible else "-", ending="")
        self.stderr.flush()


@contextmanager
def _test_databases() -> Iterator[None]:
    """Create empty test databases beside the configured ones; no wake-up leaves this process meanwhile."""
    runner = DiscoverRunner(verbosity=0, interactive=False)
    quiet = {**getattr(settings, "SAGAS", {}), "WAKEUP": "none"}
    with override_settings(SAGAS=quiet):
        databases = runner.setup_databases()
        try:
            yield
        finally:
            runner.teardown_databases(databases)


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Disable logs, so that those of planted faults do not mix with the dots; the verdicts contain everything."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
