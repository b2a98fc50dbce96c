from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error

from payments.exceptions import PaymentsError
from payments.models import Payment
from payments.services import describe_look_up, reconcile
from sagas.management import arguments
from sagas.management.base import REFUSED, SagaCommand, first_line


class Command(SagaCommand):
    help = "Ask the provider for the outcome of a payment whose answers were lost, and store it."
    example = "manage.py payment_look_up 01980c5e-7f10-7cc3-98c4-dc0c0c07398f:authorize_payment"
    # The gateway's settings are checked by the project's checks, not by the engine's.
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the payment's key."""
        parser.add_argument("key", type=arguments.text, help="the payment's key: the step key that authorised it")

    def run(self, options: Mapping[str, Any]) -> None:
        """Look up the payment and print the result.

        Raises: CommandError if there is no such payment, or the provider does not answer.
        """
        try:
            payment = reconcile(key=options["key"])
        except PaymentsError as error:
            raise CommandError(f"{error} Nothing was changed.", returncode=REFUSED) from error
        if options["json"]:
            self.print_json(_describe(payment))
        else:
            self.stdout.write(describe_look_up(payment))

    def describe_failure(self, error: Error) -> str:
        """Return a message that a repeat is harmless."""
        return f"The database failed: {first_line(error)}. Run it again; a second look-up changes nothing more."


def _describe(payment: Payment) -> dict[str, Any]:
    operations = [
        {"kind": operation.kind, "state": operation.state, "unanswered": operation.unanswered}
        for operation in payment.operations.all()
    ]
    return {
        "key": payment.key, "order_number": payment.order_number, "state": payment.state, "operations": operations,
    }  # fmt: skip
