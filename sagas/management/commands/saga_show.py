from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...exceptions import SagaNotFound
from ...operators.audit import access_log
from ...operators.presentation.documents import write_documents
from ...operators.presentation.transcript import render
from ...operators.queries.listing import find_saga
from .. import arguments
from ..base import SagaCommand

NEWEST = 200


class Command(SagaCommand):
    help = "Show the transcript of a saga: every step, attempt and history row."
    example = "manage.py saga_show 0198f3a2-5c1e\n  manage.py saga_show ORD-7K2M9QXW4C1B --json"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the saga and the length of its transcript."""
        parser.add_argument(
            "id",
            metavar="ID",
            type=arguments.saga_reference,
            help="the saga's id, a unique prefix of 8+ characters, or a business key such as an order number",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help=f"all attempts and history rows with full texts, not only the newest {NEWEST} of each",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """Show the saga.

        Raises: SagaNotFound if it was deleted just now.
        """
        saga_id = find_saga(options["id"], by_key=True)
        self.log_access(access_log.What.TRANSCRIPT, saga_id=saga_id)
        if not options["json"]:
            self.print_text(render(saga_id, newest=None if options["all"] else NEWEST))
            return
        documents = write_documents([saga_id], pretty=True)
        if not documents:
            raise SagaNotFound(f"Saga {saga_id} has just been deleted.")
        self.stdout.write_json(documents[0])
