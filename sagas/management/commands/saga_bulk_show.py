from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...conf import get_settings
from ...core.text_tables import Column
from ...models import BulkResult, SagaBulk
from ...operators.bulk import freezing
from ...operators.bulk.documents import describe_bulk, describe_item, describe_listed_bulk
from .. import arguments
from ..base import SagaCommand

LISTED = 20
NAMED = 50  # limit of listed sagas that the bulk did not change; the console shows all
COLUMNS = (
    Column(title="BULK"),
    Column(title="STATE"),
    Column(title="OPERATION"),
    Column(title="SAGAS"),
    Column(title="SELECTED BY", least=16),
    Column(title="OPERATOR", least=12),
)


class Command(SagaCommand):
    help = "Show a bulk's progress and which sagas it left unchanged, and why; without an id, list the newest bulks."
    example = "manage.py saga_bulk_show\n  manage.py saga_bulk_show 0198f3a2-5c1e-8000-8000-000000000000 --json"
    prints_table = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the bulk's id."""
        parser.add_argument("id", nargs="?", type=arguments.bulk_id, metavar="ID", help="the bulk's id")

    def run(self, options: Mapping[str, Any]) -> None:
        """Show the bulk, or list the newest ones."""
        if options["id"] is None:
            self._list(options)
        else:
            self._show(freezing.find_bulk(options["id"]), options)

    def _list(self, options: Mapping[str, Any]) -> None:
        bulks = list(SagaBulk.objects.using(get_settings().database).order_by("-frozen_at", "-pk")[:LISTED])
        if options["json"]:
            self.print_json([describe_listed_bulk(found) for found in bulks])
        elif bulks:
            rows = [
                (str(found.pk), found.state, found.operation, str(found.total), found.words, found.actor)
                for found in bulks
            ]
            self.print_table(COLUMNS, rows, options)
        else:
            self.stdout.write("No bulks found.")

    def _show(self, found: SagaBulk, options: Mapping[str, Any]) -> None:
        spared = (
            freezing.select_items(found.pk)
            .filter(result__isnull=False)
            .exclude(result=BulkResult.DONE.value)
            .order_by("position")
        )
        items = list(spared[:NAMED])
        if options["json"]:
            self.print_json({**describe_bulk(found), "nothing_done": [describe_item(item) for item in items]})
            return
        progress = freezing.read_progress(found)
        self.stdout.write(f"{found.operation} of {found.total} sagas ({found.words}), by {found.actor}: {found.state}")
        counts = [f"{count} {name.replace('_', ' ')}" for name, count in progress.counts.items() if count]
        self.stdout.write(f"  {progress.ended} have a result: {', '.join(counts)}")
        for item in items:
            self.stdout.write(f"  {item.saga_id} {item.result}: {item.message}")
