from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...operators.presentation.graph import draw_mermaid, draw_svg
from .. import arguments
from ..base import SagaCommand

FORMATS = {"svg": draw_svg, "mermaid": draw_mermaid}


class Command(SagaCommand):
    help = (
        "Draw a saga definition: its steps in order, which run in parallel, the pivot, and which are\n"
        "compensated or retried."
    )
    example = "manage.py saga_graph checkout > checkout.svg\n  manage.py saga_graph checkout@1 --format mermaid"
    prints_data = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the definition and the format."""
        parser.add_argument(
            "definition",
            metavar="DEFINITION",
            type=arguments.definition,
            help="stored name (its newest version), or NAME@VERSION",
        )
        parser.add_argument("--format", choices=sorted(FORMATS), default="svg", help="output format (default: svg)")

    def run(self, options: Mapping[str, Any]) -> None:
        """Draw the definition."""
        self.stdout.write_file(FORMATS[options["format"]](options["definition"]) + "\n")
