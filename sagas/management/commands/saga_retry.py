from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...operators.preconditions import Operation
from ..base import OperatorCommand, add_step


class Command(OperatorCommand):
    help = "Retry at once, with a fresh budget, steps that wait, are held or have used up their budget."
    example = 'manage.py saga_retry 0198f3a2-5c1e --step void_payment --reason "The provider works again"'
    operation = Operation.RETRY

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the step."""
        super().add_arguments(parser)
        add_step(parser, required=False, help_text="only this step (default: all that wait or are held)")

    def collect_arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the step."""
        return {"step": options["step"]}
