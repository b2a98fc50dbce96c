"""Filter options of commands: one for each criterion of the saga filter."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ..operators.queries.saga_filter import CRITERIA, SagaFilter, parse_filter
from . import arguments


def add_filter_options(parser: CommandParser, *, with_attention: bool = False) -> None:
    """Add an option for each criterion. ``with_attention``: also ``--attention``, short for ``--needs any``."""
    group = parser.add_argument_group("filters")
    needs = group.add_mutually_exclusive_group()
    for name, criterion in CRITERIA.items():
        action, note = ("append", " May be repeated.") if name == "state" else ("store", "")
        help, metavar = f"{criterion.help}{note}", name.upper()
        add = needs.add_argument if name == "needs" else group.add_argument
        add(f"--{name}", action=action, type=arguments.text, metavar=metavar, help=help)
    if with_attention:
        needs.add_argument(
            "--attention", action="store_const", dest="needs", const="any", help="Short for --needs any."
        )


def has_filter(options: Mapping[str, Any]) -> bool:
    """Return whether any criterion was given."""
    return any(options[name] is not None for name in CRITERIA)


def read_filter(options: Mapping[str, Any]) -> SagaFilter:
    """Return the filter that the options describe.

    Raises: BadRequest.
    """
    given = {name: options[name] for name in CRITERIA if options[name] is not None}
    return parse_filter({name: ",".join(text) if name == "state" else text for name, text in given.items()})
