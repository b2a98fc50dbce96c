from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ...events import catalogue, relay
from ...events.supervision import as_pairs
from ..base import REFUSED, SagaCommand
from ..event_options import require_events


class Command(SagaCommand):
    help = (
        "Compare the topics, groups and queues of the catalogue with the broker (--check), or create what is\n"
        "missing (--create); with --dry-run only list it. Exit code 1 if --check finds something missing, or\n"
        "if the broker does not answer."
    )
    example = "manage.py event_topics --create\n  manage.py event_topics --check"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to do."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--create", action="store_true", help="create what is missing")
        what.add_argument("--check", action="store_true", help="report what is missing or endangers events")
        parser.add_argument("--dry-run", action="store_true", help="with --create: report and create nothing")

    def run(self, options: Mapping[str, Any]) -> None:
        """Create or compare, and print the report.

        Raises: CommandError if a check finds something missing.
        """
        require_events()
        topics, subscriptions = catalogue.list_topics(), as_pairs(catalogue.list_subscriptions())
        try:
            if options["create"] and not options["dry_run"]:
                self._print_created(relay.find_transport().declare(topics, subscriptions), topics, options)
                return
            found = relay.find_transport().check(topics, subscriptions)
        finally:
            relay.close_transport()
        if options["json"]:
            self.print_json({"topics": topics, "findings": [vars(finding) for finding in found]})
        else:
            self.print_lines([f"{finding.what} {finding.todo}" for finding in found] or ["Everything is there."])
        errors = sum(finding.is_error for finding in found)
        if errors and options["check"]:
            raise CommandError(f"{errors} of {len(found)} findings need attention.", returncode=REFUSED)

    def _print_created(self, created: list[str], topics: list[str], options: Mapping[str, Any]) -> None:
        if options["json"]:
            self.print_json({"topics": topics, "created": created})
        else:
            self.print_lines(created or ["Everything is there."])
