from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from sagas import engine
from tests.acceptance.rendezvous.sagas import RendezvousInput, RendezvousSaga


class Command(BaseCommand):
    help = "Start a rendezvous and print the id of its saga. Example: manage.py start_rendezvous some/directory"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", help="where its steps leave their marks")
        parser.add_argument("--refused", action="store_true", help="let the pivot refuse")

    def handle(self, *args: Any, directory: str, refused: bool, **options: Any) -> None:
        """Start the saga, as any project does."""
        with transaction.atomic():
            saga = engine.start(
                RendezvousSaga,
                RendezvousInput(directory=directory, is_refused=refused),
                business_keys={"directory": directory[-100:]},
            )
        self.stdout.write(str(saga.pk))
