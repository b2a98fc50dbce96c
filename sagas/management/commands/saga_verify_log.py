from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ... import clock
from ...conf import get_settings
from ...core.text_tables import Column
from ...operators.audit import verification
from ...operators.audit.verification import Verification
from ...operators.queries.listing import find_saga
from .. import arguments
from ..base import REFUSED, SagaCommand
from ..stopping import stoppable

COLUMNS = (
    Column(title="SAGA"),
    Column(title="FLAW"),
    Column(title="DETAIL", least=28),
    Column(title="ENTRY"),
)
MAX_LISTED = 1_000  # --json has all


class Command(SagaCommand):
    help = (
        "Verify that no operator's entry was changed, deleted or added, by numbers without gaps and\n"
        "the signatures made with SAGAS['SIGNING_KEYS']. Exit code 1 if any entry is not intact.\n"
        "A saga that was deleted entirely leaves nothing to verify."
    )
    example = (
        "manage.py saga_verify_log --since 7d\n"
        "  manage.py saga_verify_log --saga 0198f3a2-5c1e\n"
        "  manage.py saga_verify_log --signed-since 2026-11-20T03:00:00Z --json"
    )
    prints_table = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the scope and the start of signing."""
        add = parser.add_argument
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--saga", type=arguments.saga_id, metavar="ID", help="only this saga")
        which.add_argument(
            "--since",
            type=arguments.age,
            metavar="AGE",
            help="only sagas started within this time, according to their rows: 7d,\nalso m, h, w",
        )
        add(
            "--signed-since",
            type=arguments.moment,
            metavar="TIME",
            help="time from which every start and every operator's entry must have a signature, in\n"
            "ISO 8601 with a zone (default: when the migration that signs every start was\n"
            "applied; the database's owner can change that)",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """Verify the entries, and print the findings.

        Raises: CommandError if an entry is not intact, or if the run was stopped.
        """
        signed_since = options["signed_since"] or verification.read_signed_since()
        if options["saga"]:
            found = verification.verify([find_saga(options["saga"])], signed_since=signed_since)
        else:
            with stoppable() as stop:
                found = verification.verify_all(
                    signed_since=signed_since, started_since=_read_start(options), should_stop=stop
                )
        self._print(found, options)

    def _print(self, found: Verification, options: Mapping[str, Any]) -> None:
        if options["json"]:
            findings = [finding.as_dict() for finding in found.findings]
            self.print_json(
                {"sagas": found.sagas, "entries": found.entries, "is_whole": found.is_whole, "findings": findings}
            )
        else:
            listed = found.findings[:MAX_LISTED]
            if listed:
                rows = [(str(f.saga_id), f.flaw.value, f.text, str(f.number)) for f in listed]
                self.print_table(COLUMNS, rows, options)
            if more := len(found.findings) - len(listed):
                self.stdout.write(f"{more} more findings; --json lists all.")
            self.stdout.write(f"Verified {found.entries} signed entries of {found.sagas} sagas.")
        if not found.is_sound:
            raise CommandError(f"{len(found.findings)} sagas have entries that are not intact.", returncode=REFUSED)
        if not found.is_whole:
            raise CommandError("Stopped on request before everything was verified.", returncode=REFUSED)


def _read_start(options: Mapping[str, Any]) -> datetime | None:
    if options["since"] is None:
        return None
    start: datetime = clock.read_now(get_settings().database) - options["since"]
    return start
