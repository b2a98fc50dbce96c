from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ...operators.preconditions import Operation
from .. import arguments
from ..base import WRONG_CALL, OperatorCommand, add_result, add_step

ANSWERS = {
    "succeeded": Operation.MARK_SUCCEEDED,
    "refused": Operation.MARK_REFUSED,
    "compensated": Operation.MARK_COMPENSATED,
}


class Command(OperatorCommand):
    help = (
        "Record, with evidence, how a step really ended when the engine cannot know: it succeeded,\n"
        "was refused (did not happen), or was compensated (its effect is undone)."
    )
    example = (
        "manage.py saga_resolve 0198f3a2-5c1e --step capture_payment --as succeeded \\\n"
        '    --evidence "Capture cap_81 in the provider\'s list" --reason "The answer was lost" '
        '--result \'{"capture": "cap_81"}\''
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the step, the answer, the evidence and the result."""
        super().add_arguments(parser)
        add_step(parser, required=True, help_text="the step whose outcome is now known")
        add = parser.add_argument
        add("--as", dest="answer", required=True, choices=sorted(ANSWERS), help="how it ended")
        add("--evidence", required=True, type=arguments.text, metavar="TEXT", help="how you know, 10 to 500 characters")
        add_result(parser)

    def find_operation(self, options: Mapping[str, Any]) -> Operation:
        """Return the operation that marks the step.

        Raises: CommandError if a result is given for an answer other than succeeded.
        """
        if options["result"] is not None and options["answer"] != "succeeded":
            raise CommandError("--result is only allowed with --as succeeded.", returncode=WRONG_CALL)
        return ANSWERS[options["answer"]]

    def collect_arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the step, the evidence and the result."""
        found = {"step": options["step"], "evidence": options["evidence"]}
        return {**found, "result": options["result"]} if options["answer"] == "succeeded" else found
