from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from ...core.text_tables import Column
from ...operators.audit import access_log
from ...operators.presentation.badges import in_words
from ...operators.queries.listing import DEFAULT_LIMIT, MAX_LIMIT, ListedSaga, list_sagas
from .. import arguments
from ..base import SagaCommand
from ..filter_options import add_filter_options, read_filter

COLUMNS = (
    Column(title="ID"),
    Column(title="STATE", least=10),
    Column(title="KEYS", least=22),
    Column(title="STEP", least=12),
    Column(title="LAST ERROR", least=20),
    Column(title="NEEDS", least=12),
    Column(title="STARTED"),
    Column(title="DEFINITION", least=12),
    Column(title="DUE"),
)


class Command(SagaCommand):
    help = (
        "List sagas, newest first, cut to fit the terminal; --wide prints every column in full, --json is for programs."
    )
    example = (
        "manage.py saga_list --attention\n"
        "  manage.py saga_list --definition checkout --state compensating --state compensated --limit 20\n"
        "  manage.py saga_list --search ORD-7K"
    )
    prints_table = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the filter and the limit."""
        add_filter_options(parser, with_attention=True)
        parser.add_argument(
            "--limit",
            type=arguments.WholeNumber(1, MAX_LIMIT),
            default=DEFAULT_LIMIT,
            metavar="N",
            help=f"maximum number of sagas, up to {MAX_LIMIT} (default: {DEFAULT_LIMIT})",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """List the sagas."""
        found = list_sagas(read_filter(options), options["limit"])
        if any(saga.last_error for saga in found):
            self.log_access(access_log.What.LIST, detail="saga_list")
        if options["json"]:
            self.print_json([saga.as_dict() for saga in found])
        elif found:
            shared = Counter(pair for saga in found for pair in saga.keys.items())
            self.print_table(COLUMNS, [_describe(saga, shared) for saga in found], options)
        else:
            self.stdout.write("No matching sagas.")


def _describe(saga: ListedSaga, shared: Mapping[tuple[str, str], int]) -> tuple[str, ...]:
    """Return a row of the table.

    ``shared``: number of listed sagas by key. The rarest keys come first, because a cell is cut at its end.
    """
    keys = sorted(saga.keys.items(), key=lambda pair: shared[pair])
    step = f"{saga.step} {in_words(saga.step_display_state)}, attempt {saga.attempts}" if saga.step else "-"
    return (
        str(saga.id),
        in_words(saga.display_state),
        " ".join(f"{name}={value}" for name, value in keys) or "-",
        step,
        saga.last_error or "-",
        ", ".join(saga.needs) or "-",
        _moment(saga.created_at),
        f"{saga.definition}@{saga.version}",
        _moment(saga.due_at),
    )


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"
