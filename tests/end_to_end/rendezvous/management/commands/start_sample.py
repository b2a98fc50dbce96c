from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from sagas.core.definition import registry
from sagas.engine import advance
from tests.end_to_end.rendezvous.sagas import RendezvousInput


class Command(BaseCommand):
    help = "Start a sample saga and print its id. Example: manage.py start_sample rendezvous --directory marks"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("definition", help="rendezvous or heavy")
        parser.add_argument("--directory", help="where the steps of a rendezvous leave their marks")
        parser.add_argument("--refused", action="store_true", help="let the pivot of a rendezvous refuse")

    def handle(self, *args: Any, definition: str, directory: str | None, refused: bool, **options: Any) -> None:
        """Start the saga, as any project does."""
        given = RendezvousInput(directory=directory, is_refused=refused) if directory else None
        with transaction.atomic():
            saga = advance.start(registry.latest(definition), given, business_keys={"sample": definition})
        self.stdout.write(str(saga.pk))
