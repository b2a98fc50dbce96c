import dataclasses
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.db import Error

from orders.retention import clean_up
from sagas.management.base import SagaCommand, first_line


class Command(SagaCommand):
    help = (
        "Delete expired idempotency answers, except those of open sagas, and throttle counters that are back at zero.\n"
        "Exit code 0: done, 1: the database failed, 2: wrong arguments."
    )
    example = "manage.py checkout_cleanup --dry-run"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the rehearsal."""
        parser.add_argument("--dry-run", action="store_true", help="count only")

    def run(self, options: Mapping[str, Any]) -> None:
        """Delete, and report."""
        dry_run = options["dry_run"]
        counts = dataclasses.asdict(clean_up(dry_run=dry_run))
        if options["json"]:
            self.print_json({**counts, "dry_run": dry_run})
            return
        verb = "Would delete" if dry_run else "Deleted"
        self.stdout.write(f"{verb} {counts['idempotency_records']} answers and {counts['throttle_buckets']} counters.")

    def describe_failure(self, error: Error) -> str:
        """Return what a failure leaves behind."""
        return f"The database failed: {first_line(error)}. What was deleted stays deleted; run it again."
