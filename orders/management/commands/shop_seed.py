from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import Error

from orders.seed import PRODUCTS, USERS, seed_shop
from sagas.management.base import REFUSED, SagaCommand, first_line


class Command(SagaCommand):
    help = (
        "Create the demo's users (whose passwords are their names), products and stock. Existing rows\nare not changed."
    )
    example = "manage.py shop_seed --demo-data"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the flag that says it is meant."""
        parser.add_argument(
            "--demo-data",
            action="store_true",
            help="run although DEBUG is off; creates accounts with known passwords",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """Seed the shop.

        The flag guards against a slip at a prompt; a program that calls this command has decided already.
        Raises: CommandError when the flag is missing.
        """
        if self._called_from_command_line and not (options["demo_data"] or settings.DEBUG):
            raise CommandError(
                "Nothing was done: this would create accounts with known passwords, one of them a superuser; "
                "for a demo, add --demo-data.",
                returncode=REFUSED,
            )
        seed_shop()
        if options["json"]:
            self.print_json({"users": len(USERS), "products": len(PRODUCTS)})
        elif options["verbosity"]:
            self.stdout.write(f"The shop has {len(USERS)} demo users and {len(PRODUCTS)} demo products.")

    def describe_failure(self, error: Error) -> str:
        """Return the advice to repeat the command."""
        return f"The database failed: {first_line(error)}. Run it again; existing rows are not changed."
