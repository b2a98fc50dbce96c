from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...operators.actor import Actor
from ...operators.bulk import freezing
from .. import arguments
from ..base import SagaCommand


class Command(SagaCommand):
    help = "Stop a bulk: the operation under way on a saga is finished; the remaining sagas stay unchanged."
    example = 'manage.py saga_bulk_stop 0198f3a2-5c1e-8000-8000-000000000000 --reason "Wrong provider"'

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the bulk's id and the user."""
        add = parser.add_argument
        add("id", type=arguments.bulk_id, metavar="ID", help="the bulk's id")
        add("--reason", type=arguments.text, default="", metavar="TEXT", help="why (optional)")
        add("--user", type=arguments.text, metavar="NAME", help="act as this account, with its permissions")

    def run(self, options: Mapping[str, Any]) -> None:
        """Stop the bulk."""
        actor = Actor.of_command_line(options["user"])
        found, is_new = freezing.stop_bulk(options["id"], actor=actor, reason=options["reason"])
        counts = freezing.read_progress(found).counts
        if options["json"]:
            self.print_json({"id": str(found.pk), "state": found.state, "is_repeat": not is_new, "counts": counts})
            return
        self.stdout.write("Stopped." if is_new else f"The bulk was already {found.state}.")
        self.stdout.write(f"{counts[freezing.NOT_BEGUN]} of {found.total} sagas had not been started.")
