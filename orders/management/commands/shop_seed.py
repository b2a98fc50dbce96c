from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from orders.seed import PRODUCTS, USERS, seed_shop


class Command(BaseCommand):
    help = (
        "Create the demo's users (whose passwords are their names), products and stock; what is there already stays "
        "as it is. Example: manage.py shop_seed --demo-data"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--demo-data",
            action="store_true",
            help="Do it although DEBUG is off: accounts with known passwords are made.",
        )

    def handle(self, *args: Any, demo_data: bool, verbosity: int, **options: Any) -> None:
        """Seed the shop.

        The flag guards against a slip at a prompt; a program that calls this command has decided already.
        """
        if self._called_from_command_line and not (demo_data or settings.DEBUG):
            raise CommandError(
                "This makes accounts with known passwords, one of them a superuser. Nothing was done; "
                "for a demo, add --demo-data."
            )
        seed_shop()
        if verbosity:
            self.stdout.write(f"The shop has {len(USERS)} demo users and {len(PRODUCTS)} demo products.")
