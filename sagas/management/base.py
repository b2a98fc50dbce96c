"""Base classes of the commands: common arguments, output and exit codes.

Exit codes: 0 done; 1 refused, failed, or nothing found where the command says so; 2 wrong arguments.
"""

import json
import logging
import shutil
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter, OutputWrapper
from django.db import Error

from ..core.text_tables import Column, describe_table
from ..core.visible import take_first_line
from ..exceptions import BadRequest, OperationRefused, SagaError, StaleRevision
from ..operators import operations, preview
from ..operators.actor import Actor
from ..operators.audit import access_log
from ..operators.preconditions import Operation
from ..operators.presentation.badges import in_words
from ..operators.queries.listing import find_saga
from . import arguments
from .output import OutputFailed, SafeOutput, SafeParser

DONE, REFUSED, WRONG_CALL = 0, 1, 2
MAX_REVISION = 2_147_483_647
UNKNOWN_WIDTH = (80, 24)
MAX_ERROR_CHARS = 1_000


class HelpFormatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Help formatter that keeps the lines of a command's description and example."""


class SagaCommand(BaseCommand):
    """Base of every command of the engine: parse, call one function, report."""

    requires_system_checks: tuple[str, ...] = ("sagas",)
    example: ClassVar[str] = ""
    """One or more command lines, shown by ``--help``."""
    prints_data: ClassVar[bool] = True
    """Whether the command has ``--json``."""
    prints_table: ClassVar[bool] = False
    """Whether the command has ``--wide``."""

    @property
    def stdout(self) -> SafeOutput:
        """Output of the command's results."""
        return self._stdout

    @stdout.setter
    def stdout(self, wrapper: OutputWrapper) -> None:
        # Django sets it initially and for call_command(stdout=...), so no command can bypass the escaping.
        self._stdout = SafeOutput(wrapper._out)  # noqa: SLF001

    @property
    def stderr(self) -> SafeOutput:
        """Output of errors and progress."""
        return self._stderr

    @stderr.setter
    def stderr(self, wrapper: OutputWrapper) -> None:
        self._stderr = SafeOutput(wrapper._out, must_arrive=False)  # noqa: SLF001

    def get_check_kwargs(self, options: dict[str, Any]) -> Any:
        """Return the arguments of the system checks: without databases, which must be explicit since Django 6.0."""
        wanted: Any = super().get_check_kwargs(options)
        return {**wanted, "databases": []}

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return a parser with the arguments of every command."""
        kwargs.update(formatter_class=HelpFormatter, allow_abbrev=False, epilog=f"Example:\n  {self.example}")
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.__class__ = SafeParser  # Django names the class itself
        parser.add_argument("--no-input", action="store_true", help="never prompt, for scripts (no command prompts)")
        if self.prints_data:
            parser.add_argument("--json", action="store_true", help="print JSON instead of text")
        if self.prints_table:
            parser.add_argument(
                "--wide", action="store_true", help="print every column in full, however wide the terminal is"
            )
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command and turn expected errors into a message and an exit code.

        Raises: CommandError.
        """
        try:
            self.run(options)
            self.stdout.flush()
        except OutputFailed as error:
            if not error.is_reader_gone:
                raise CommandError(str(error), returncode=REFUSED) from error
        except BadRequest as error:
            raise CommandError(str(error), returncode=WRONG_CALL) from error
        except (SagaError, ImproperlyConfigured) as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        except Error as error:
            raise CommandError(self.describe_failure(error), returncode=REFUSED) from error

    def run(self, options: Mapping[str, Any]) -> None:
        """Execute the command; subclasses implement it."""
        raise NotImplementedError

    def describe_failure(self, error: Error) -> str:
        """Return the message for a database error."""
        return f"The database failed: {first_line(error)}. Run saga_doctor to find the cause."

    def print_json(self, data: object) -> None:
        """Print data as JSON."""
        self.stdout.write_json(json.dumps(data, indent=2, default=str))

    def print_lines(self, lines: Iterable[str]) -> None:
        """Print lines of text."""
        self.stdout.write_lines(lines)

    def print_text(self, text: str) -> None:
        """Print a text whose data are already escaped, line by line."""
        self.stdout.write_lines(text.removesuffix("\n").split("\n"))

    def print_table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], options: Mapping[str, Any]) -> None:
        """Print a table cut to the terminal's width, or in full with ``--wide``."""
        self.print_lines(describe_table(columns, rows, self.find_width(options)))

    def find_width(self, options: Mapping[str, Any]) -> int | None:
        """Return the terminal's width in columns, or None for a table that must not be cut."""
        return None if options["wide"] else shutil.get_terminal_size(UNKNOWN_WIDTH).columns

    def log_access(self, what: access_log.What, *, saga_id: UUID | None = None, detail: str = "") -> None:
        """Record in the access log that the user of the command is about to see payloads.

        A user with a shell here can read the tables anyway, so payloads are always shown. The command's log is the
        user's own terminal, where a line would look like an error: it gets a row, and a log line only at DEBUG.
        """
        access_log.log_access(Actor.of_command_line().name, what, saga_id=saga_id, detail=detail, level=logging.DEBUG)


class OperatorCommand(SagaCommand):
    """Base of the commands that perform an operation on a saga (rule S8)."""

    operation: ClassVar[Operation]

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments of every operation."""
        add = parser.add_argument
        add("id", metavar="ID", type=arguments.saga_id, help="the saga's id, or a unique prefix of 8+ characters")
        add("--reason", required=True, type=arguments.text, metavar="TEXT", help="why, 10 to 500 characters; stored")
        add("--user", type=arguments.text, metavar="NAME", help="act as this account, with its permissions")
        add(
            "--revision",
            type=arguments.WholeNumber(1, MAX_REVISION),
            metavar="N",
            help="refuse unless the saga is at this revision",
        )
        add("--dry-run", action="store_true", help="print the preview and change nothing")

    def run(self, options: Mapping[str, Any]) -> None:
        """Perform the operation, or print its preview."""
        operation = self.find_operation(options)
        actor = Actor.of_command_line(options["user"])
        saga_id = find_saga(options["id"])
        if options["dry_run"]:
            check_words(options)
            operations.check_result(self.collect_arguments(options).get("result"))
            plan = preview.preview_operation(operation, saga_id, step=options.get("step"), actor=actor)
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
        """Return the requested operation."""
        return self.operation

    def collect_arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return this operation's arguments besides actor, reason and revision."""
        return {}

    def describe_failure(self, error: Error) -> str:
        """Return a message that it is unknown whether the operation was performed."""
        return (
            f"The database failed: {first_line(error)}. Check with saga_show whether it was done before you repeat it."
        )

    def _print_plan(self, plan: preview.OperationPreview, options: Mapping[str, Any]) -> None:
        if options["json"]:
            self.print_json(plan.as_dict())
        else:
            self.print_text(plan.as_text())
        revision = options["revision"]
        if revision is not None and revision != plan.revision:
            raise StaleRevision(
                f"Saga {plan.saga_id} is at revision {plan.revision}, not {revision}; the operation would be refused.",
                expected=revision,
                found=plan.revision,
            )
        if not plan.is_allowed and not plan.is_repeat:
            raise OperationRefused(plan.refusal)

    def _print_result(self, result: operations.OperationResult, options: Mapping[str, Any]) -> None:
        if options["json"]:
            self.print_json(result.as_dict())
            return
        self.stdout.write(result.message)
        self.stdout.write(f"Saga {result.saga_id} is {in_words(result.display_state)}, revision {result.revision}.")


def check_words(options: Mapping[str, Any]) -> None:
    """Check reason and evidence before a preview, as the operation itself does.

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
    """Return the first line of an error's text, or the name of its class."""
    return take_first_line(str(error).strip(), at_most=MAX_ERROR_CHARS).rstrip(".") or type(error).__name__
