from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...operators.presentation.graph import draw_mermaid, draw_svg
from .. import arguments
from ..base import SagaCommand

FORMATS = {"svg": draw_svg, "mermaid": draw_mermaid}


class Command(SagaCommand):
    help = (
        "Draw a saga definition: its steps in order, what runs side by side, the pivot, and what is\n"
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
            help="its stored name; the newest version, or NAME@VERSION",
        )
        parser.add_argument("--format", choices=sorted(FORMATS), default="svg", help="what to print (default: svg)")

    def run(self, options: Mapping[str, Any]) -> None:
        """Draw the definition."""
        self.stdout.write_file(FORMATS[options["format"]](options["definition"]) + "\n")
