from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...operators.preconditions import Operation
from ..base import OperatorCommand, add_result, add_step


class Command(OperatorCommand):
    help = "Skip a step that has had no effect, so that the saga can continue. Never the pivot."
    example = 'manage.py saga_skip 0198f3a2-5c1e --step book_shipment --reason "Collected in the shop"'
    operation = Operation.SKIP

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the step and its result."""
        super().add_arguments(parser)
        add_step(parser, required=True, help_text="the step to skip")
        add_result(parser)

    def collect_arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the step and its result."""
        return {"step": options["step"], "result": options["result"]}
