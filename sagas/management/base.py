"""Share among the commands how they are called, what they print, and how they end.

Exit codes: 0 done; 1 refused, failed, or nothing found where the command says so; 2 called wrongly.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import Error

from .. import operations, plans
from ..actors import Actor
from ..exceptions import BadRequest, OperationRefused, SagaError, StaleRevision
from ..listing import find_saga
from ..rules import Operation
from . import arguments

DONE, REFUSED, WRONG_CALL = 0, 1, 2
MAX_REVISION = 2_147_483_647


class HelpFormatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Keep the lines of a command's description and example."""


class SagaCommand(BaseCommand):
    """Be the base of every command of the engine: parse, call one function, report."""

    requires_system_checks: tuple[str, ...] = ("sagas",)
    example: ClassVar[str] = ""
    """One or more command lines, shown by ``--help``."""
    prints_data: ClassVar[bool] = True
    """Whether there is ``--json``."""

    def get_check_kwargs(self, options: dict[str, Any]) -> Any:
        """Return what is checked before the command runs: no database, which since Django 6.0 must be said."""
        wanted: Any = super().get_check_kwargs(options)
        return {**wanted, "databases": []}

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Add what every command takes."""
        kwargs.update(formatter_class=HelpFormatter, allow_abbrev=False, epilog=f"Example:\n  {self.example}")
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument("--no-input", action="store_true", help="for scripts: never ask (no command asks anything)")
        if self.prints_data:
            parser.add_argument("--json", action="store_true", help="print JSON instead of text")
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command and turn what can go wrong into a message and an exit code.

        Raises: CommandError.
        """
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            self.run(options)
            self.stdout.flush()
        except BadRequest as error:
            raise CommandError(str(error), returncode=WRONG_CALL) from error
        except (SagaError, ImproperlyConfigured) as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        except Error as error:
            raise CommandError(self.describe_failure(error), returncode=REFUSED) from error
        except BrokenPipeError:
            # The reader (head, less) has seen enough; what is left must not fail at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def run(self, options: Mapping[str, Any]) -> None:
        """Do the one thing this command is for."""
        raise NotImplementedError

    def describe_failure(self, error: Error) -> str:
        """Say what it means that the database failed."""
        return f"The database failed: {first_line(error)}. saga_doctor tells what is wrong with it."

    def print_json(self, data: object) -> None:
        """Print data as JSON."""
        self.stdout.write(json.dumps(data, indent=2, default=str))


class OperatorCommand(SagaCommand):
    """Be the base of the commands by which a person acts on a saga (rule S8)."""

    operation: ClassVar[Operation]

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what every action takes."""
        add = parser.add_argument
        add("id", metavar="ID", type=arguments.saga_id, help="the saga's id, or a unique beginning of 8 characters")
        add("--reason", required=True, type=arguments.text, metavar="TEXT", help="why, 10 to 500 characters; kept")
        add("--user", type=arguments.text, metavar="NAME", help="act as this account, with its permissions")
        add(
            "--revision",
            type=arguments.WholeNumber(1, MAX_REVISION),
            metavar="N",
            help="refuse if the saga is not at this revision any more",
        )
        add("--dry-run", action="store_true", help="print the plan and change nothing")

    def run(self, options: Mapping[str, Any]) -> None:
        """Do the action, or print its plan."""
        operation = self.find_operation(options)
        actor = Actor.of_command_line(options["user"])
        saga_id = find_saga(options["id"])
        if options["dry_run"]:
            check_words(options)
            plan = plans.draw_plan(operation, saga_id, step=options.get("step"), actor=actor)
            self._print_plan(plan, options)
            return
        result = operations.perform_operation(
            operation,
            saga_id,
            actor=actor,
            reason=options["reason"],
            revision=options["revision"],
            **self.collect_arguments(options),
        )
        self._print_result(result, options)

    def find_operation(self, options: Mapping[str, Any]) -> Operation:
        """Return the action that was asked for."""
        return self.operation

    def collect_arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what this action takes beyond actor, reason and revision."""
        return {}

    def describe_failure(self, error: Error) -> str:
        """Say that it is open whether the action was done."""
        return (
            f"The database failed: {first_line(error)}. Look with saga_show whether it was done before you repeat it."
        )

    def _print_plan(self, plan: plans.OperationPlan, options: Mapping[str, Any]) -> None:
        if options["json"]:
            self.print_json(plan.as_dict())
        else:
            self.stdout.write(plan.as_text(), ending="")
        revision = options["revision"]
        if revision is not None and revision != plan.revision:
            raise StaleRevision(
                f"Saga {plan.saga_id} is at revision {plan.revision}, not {revision}; the action would be refused.",
                expected=revision,
                found=plan.revision,
            )
        if not plan.is_allowed and not plan.is_repeat:
            raise OperationRefused(plan.refusal)

    def _print_result(self, result: operations.OperationResult, options: Mapping[str, Any]) -> None:
        if options["json"]:
            self.print_json(
                {
                    "saga_id": str(result.saga_id), "operation": result.operation.value, "state": result.state,
                    "revision": result.revision, "message": result.message, "is_repeat": result.is_repeat,
                }
            )  # fmt: skip
            return
        self.stdout.write(result.message)
        self.stdout.write(f"Saga {result.saga_id} is {result.state}, revision {result.revision}.")


def check_words(options: Mapping[str, Any]) -> None:
    """Check reason and evidence before a plan as the action itself would.

    Raises: BadRequest.
    """
    for name in ("evidence", "reason"):
        if (text := options.get(name)) is not None:
            operations.measure_text(text, f"The {name}")


def add_step(parser: CommandParser, *, required: bool, help_text: str) -> None:
    """Add ``--step``."""
    parser.add_argument("--step", required=required, type=arguments.step_name, metavar="S", help=help_text)


def add_result(parser: CommandParser) -> None:
    """Add ``--result``."""
    parser.add_argument(
        "--result",
        type=arguments.json_object,
        metavar="JSON",
        help="the result that later steps read, as a JSON object",
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its name."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def describe_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines; columns are as wide as they need to be."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
