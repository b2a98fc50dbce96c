from __future__ import annotations

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from orders.retention import clean_up


class Command(BaseCommand):
    help = (
        "Delete remembered checkout answers that have expired, except those of open sagas, and throttle counters that "
        "stand at nothing. Exit code 0: done, 1: the database failed, 2: wrong arguments. "
        "Example: manage.py checkout_cleanup --dry-run"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count only.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        parser.add_argument("--no-input", action="store_true", help="Accepted for scripts; nothing is ever asked.")

    def handle(self, *args: Any, dry_run: bool, json: bool, **options: Any) -> None:
        """Delete, and report."""
        try:
            report = clean_up(dry_run=dry_run)
        except DatabaseError as error:
            raise CommandError(
                f"The database failed: {error}. What was deleted stays deleted; run it again."
            ) from error
        self.stdout.write(_format(dataclasses.asdict(report), dry_run=dry_run, as_json=json))


def _format(counts: dict[str, int], *, dry_run: bool, as_json: bool) -> str:
    if as_json:
        return json.dumps({**counts, "dry_run": dry_run})
    verb = "Would delete" if dry_run else "Deleted"
    return f"{verb} {counts['idempotency_records']} answers and {counts['throttle_buckets']} counters."
