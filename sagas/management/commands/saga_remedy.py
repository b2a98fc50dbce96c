from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.db import Error

from ...operators import remedies
from ...operators.actor import Actor
from ...operators.queries.listing import find_saga
from .. import arguments
from ..base import MAX_REVISION, SagaCommand, add_step, first_line


class Command(SagaCommand):
    help = "List the remedies that participants offer for a saga's stuck steps, or run one."
    example = (
        "manage.py saga_remedy 01980c5e\n"
        "  manage.py saga_remedy 01980c5e ask_provider\n"
        '  manage.py saga_remedy 01980c5e clear_failure --reason "The provider is back" --retry'
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add saga, remedy and what a run needs."""
        add = parser.add_argument
        add("id", metavar="ID", type=arguments.saga_id, help="the saga's id, or a unique prefix of 8+ characters")
        add("name", metavar="NAME", nargs="?", type=arguments.text, help="the remedy to run; without it: list them")
        add_step(parser, required=False, help_text="the step, where the remedy is offered for several")
        add("--reason", default="", type=arguments.text, metavar="TEXT", help="why; required for repairs")
        add("--retry", action="store_true", help="retry the step if the answer suggests it")
        add("--user", type=arguments.text, metavar="NAME", help="act as this account, with its permissions")
        add(
            "--revision",
            type=arguments.WholeNumber(1, MAX_REVISION),
            metavar="N",
            help="refuse unless the saga is at this revision",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """List the remedies, or run one and print its answer."""
        actor, saga_id = Actor.of_command_line(options["user"]), find_saga(options["id"])
        if options["name"] is None:
            self._print_offered(remedies.list_remedies(saga_id, actor=actor), options)
            return
        found = remedies.run_remedy(
            saga_id,
            options["name"],
            actor=actor,
            step=options["step"],
            reason=options["reason"],
            revision=options["revision"],
            retries=options["retry"],
        )
        if options["json"]:
            self.print_json(found.as_dict())
            return
        self.stdout.write(f"{found.label}: {found.message}")
        self.print_lines(f"  {name}: {value}" for name, value in found.facts.items())
        if found.suggestion:
            self.stdout.write(f"What could follow: {found.suggestion.value} of {found.step}.")

    def describe_failure(self, error: Error) -> str:
        """Return a message that a repeat is harmless."""
        return f"The database failed: {first_line(error)}. Run it again; a remedy may be repeated."

    def _print_offered(self, offered: list[remedies.OfferedRemedy], options: Mapping[str, Any]) -> None:
        if options["json"]:
            self.print_json([found.as_dict() for found in offered])
            return
        for found in offered:
            remedy = found.remedy
            self.stdout.write(f"{remedy.name} --step {found.step}: {remedy.label} ({remedy.kind.replace('_', '-')})")
        if not offered:
            self.stdout.write("No remedy is offered for the saga as it stands.")
