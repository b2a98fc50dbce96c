from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from payments.exceptions import PaymentsError
from payments.services import describe_look_up, reconcile


class Command(BaseCommand):
    help = "Look up at the provider what became of a payment whose answers were lost, and store what it knows."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = "Example: manage.py payment_look_up 01980c5e-7f10-7cc3-98c4-dc0c0c07398f:authorize_payment"
        parser.add_argument("key", help="the payment's key: the step key that authorised it")
        parser.add_argument("--json", action="store_true", help="print the payment as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            payment = reconcile(key=options["key"])
        except PaymentsError as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        if not options["json"]:
            self.stdout.write(describe_look_up(payment))
            return
        operations = [
            {"kind": operation.kind, "state": operation.state, "unanswered": operation.unanswered}
            for operation in payment.operations.all()
        ]
        facts = {
            "key": payment.key,
            "order_number": payment.order_number,
            "state": payment.state,
            "operations": operations,
        }
        self.stdout.write(json.dumps(facts))
