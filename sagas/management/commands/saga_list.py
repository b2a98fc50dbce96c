from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from ... import looks
from ...actors import Actor
from ...listing import MAX_LIMIT, ListedSaga, Wanted, list_sagas
from ...states import SagaState
from .. import arguments
from ..base import SagaCommand, describe_table

HEAD = ("ID", "DEFINITION", "KEYS", "STATE", "STEP", "NEEDS", "STARTED", "DUE", "LAST ERROR")
MAX_ERROR_CHARS = 60


class Command(SagaCommand):
    help = "List sagas, newest first."
    example = (
        "manage.py saga_list --attention\n"
        "  manage.py saga_list --definition checkout --state compensating --state compensated --limit 20\n"
        "  manage.py saga_list --search ORD-7K"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what narrows the list."""
        add = parser.add_argument
        states = [state.value for state in SagaState]
        add("--state", action="append", default=[], choices=states, help="only this state; may be repeated")
        add("--definition", type=arguments.definition_name, metavar="NAME", help="only this definition")
        add("--attention", action="store_true", help="only sagas that need a person: held, or worth a look")
        add(
            "--search",
            type=arguments.text,
            metavar="TEXT",
            help="only where the id (8 characters or more) or a business key begins like this",
        )
        add(
            "--limit",
            type=arguments.WholeNumber(1, MAX_LIMIT),
            default=Wanted.limit,
            metavar="N",
            help=f"at most so many, up to {MAX_LIMIT} (default: {Wanted.limit})",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """List them."""
        found = list_sagas(
            Wanted(
                states=frozenset(SagaState(state) for state in options["state"]),
                definition=options["definition"] or "",
                needs_person=options["attention"],
                search=options["search"] or "",
                limit=options["limit"],
            )
        )
        if any(saga.last_error for saga in found):
            # Who has a shell here could read the tables, too: it is written down, and shown in any case.
            looks.note_look(Actor.of_command_line().name, looks.What.LIST, detail="saga_list")
        if options["json"]:
            self.print_json([saga.as_dict() for saga in found])
        elif found:
            self.stdout.write("\n".join(describe_table(HEAD, [_describe(saga) for saga in found])))
        else:
            self.stdout.write("No saga fits.")


def _describe(saga: ListedSaga) -> tuple[str, ...]:
    step = f"{saga.step} {saga.step_state}, attempt {saga.attempts}" if saga.step else "-"
    error = saga.last_error if len(saga.last_error) <= MAX_ERROR_CHARS else saga.last_error[: MAX_ERROR_CHARS - 1] + "…"
    return (
        str(saga.id),
        f"{saga.definition}@{saga.version}",
        " ".join(f"{name}={value}" for name, value in saga.keys.items()) or "-",
        saga.display_state.replace("_", " "),
        step,
        ", ".join(saga.needs) or "-",
        _moment(saga.created_at),
        _moment(saga.due_at),
        error or "-",
    )


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"
