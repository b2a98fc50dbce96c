from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ...operators.audit import access_log
from ...operators.queries.export import write_csv, write_ndjson
from ...operators.visibility import Visibility
from ..base import SagaCommand
from ..filter_options import add_filter_options, read_filter

FORMS = {"csv": write_csv, "ndjson": write_ndjson}


class Command(SagaCommand):
    help = (
        "Export sagas, newest first, as CSV (one line each; no cell is a formula) or NDJSON (one\n"
        "document each). Error texts only with --errors; inputs, results and all else with --payloads."
    )
    example = (
        "manage.py saga_export --format csv --attention > tonight.csv\n"
        "  manage.py saga_export --format ndjson --definition checkout --payloads | gzip > checkouts.ndjson.gz"
    )
    prints_data = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the filter, the format and payloads."""
        add = parser.add_argument
        add_filter_options(parser, with_attention=True)
        add("--format", choices=sorted(FORMS), default="csv", help="output format (default: csv)")
        more = parser.add_mutually_exclusive_group()
        more.add_argument("--errors", action="store_true", help="include error texts")
        more.add_argument("--payloads", action="store_true", help="include error texts, inputs, results, everything")

    def run(self, options: Mapping[str, Any]) -> None:
        """Write the sagas, a page at a time."""
        wanted = read_filter(options)
        visibility = _find_visibility(options)
        if visibility.has_errors:
            shown = "" if visibility.has_payloads else f"{access_log.ERRORS_ONLY}, "
            self.log_access(access_log.What.EXPORT, detail=f"{shown}saga_export {wanted.describe()}".strip())
        for line in FORMS[options["format"]](wanted.select(), visibility):
            if options["format"] == "csv":
                self.stdout.write_file(line)
            else:
                self.stdout.write_json(line.removesuffix("\n"))


def _find_visibility(options: Mapping[str, Any]) -> Visibility:
    if options["payloads"]:
        return Visibility.PAYLOADS
    return Visibility.ERRORS if options["errors"] else Visibility.STATES
