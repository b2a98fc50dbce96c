from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error

from payments.exceptions import GatewayConflict
from payments.gateways.sandbox import clear_failure
from sagas.management import arguments
from sagas.management.base import REFUSED, SagaCommand, first_line


class Command(SagaCommand):
    help = "Clear the failure of one sandbox authorisation, so that its voids and refunds work again."
    example = "manage.py sandbox_clear 01980c5e-7f10-7cc3-98c4-dc0c0c07398f:authorize_payment"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the authorisation's key."""
        parser.add_argument(
            "key", type=arguments.text, help="the authorisation's key: the step key that authorised the payment"
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """Clear the failure and print the result.

        Raises: CommandError if the ledger has no such authorisation.
        """
        try:
            row = clear_failure(key=options["key"])
        except GatewayConflict as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        if options["json"]:
            self.print_json(
                {
                    "key": row.key,
                    "order_number": row.order_number,
                    "state": row.state,
                    "payment_method": row.payment_method,
                    "is_failing": row.is_failing,
                    "failure_cleared_at": row.failure_cleared_at.isoformat() if row.failure_cleared_at else None,
                }
            )
        elif row.failure_cleared_at is None:
            self.stdout.write(f"Authorisation {row.key} was not failing; nothing to clear.")
        else:
            self.stdout.write(f"Authorisation {row.key} works again; retry the step that waited for it.")

    def describe_failure(self, error: Error) -> str:
        """Return a message that a repeat is harmless."""
        return f"The database failed: {first_line(error)}. Run it again; a second run changes nothing more."
