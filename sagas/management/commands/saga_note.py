from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...operators.actor import Actor
from ...operators.notes import MAX_NOTE_CHARS, add_note
from ...operators.queries.listing import find_saga
from .. import arguments
from ..base import SagaCommand


class Command(SagaCommand):
    help = "Write a note on a saga, open or closed. It changes nothing else; saga_show prints it."
    example = 'manage.py saga_note 0198f3a2-5c1e "The provider answers on Monday, ticket 4711"'

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the saga, the text and the account."""
        add = parser.add_argument
        add("id", metavar="ID", type=arguments.saga_id, help="the saga's id, or a unique prefix of 8+ characters")
        add("text", metavar="TEXT", type=arguments.text, help=f"the note, 1 to {MAX_NOTE_CHARS} characters; stored")
        add("--user", type=arguments.text, metavar="NAME", help="write as this account, with its permissions")

    def run(self, options: Mapping[str, Any]) -> None:
        """Write the note."""
        note = add_note(find_saga(options["id"]), actor=Actor.of_command_line(options["user"]), text=options["text"])
        if options["json"]:
            self.print_json(note.as_dict())
        else:
            self.stdout.write(f"Note {note.number} of saga {note.saga_id} is stored.")
