from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from payments.exceptions import GatewayConflict
from payments.gateways.sandbox import clear_failure


class Command(BaseCommand):
    help = "Clear the failure of one sandbox authorisation, so that its voids and refunds work again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = "Example: manage.py sandbox_clear 01980c5e-7f10-7cc3-98c4-dc0c0c07398f:authorize_payment"
        parser.add_argument("key", help="the authorisation's key: the step key that authorised the payment")
        parser.add_argument("--json", action="store_true", help="print the ledger row as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            row = clear_failure(key=options["key"])
        except GatewayConflict as error:
            raise CommandError(str(error)) from error
        facts = {
            "key": row.key,
            "order_number": row.order_number,
            "state": row.state,
            "payment_method": row.payment_method,
            "is_failing": row.is_failing,
            "failure_cleared_at": row.failure_cleared_at.isoformat() if row.failure_cleared_at else None,
        }
        if options["json"]:
            self.stdout.write(json.dumps(facts))
        elif row.failure_cleared_at is None:
            self.stdout.write(f"Authorisation {row.key} was not failing; nothing to clear.")
        else:
            self.stdout.write(f"Authorisation {row.key} works again; retry the step that waited for it.")
