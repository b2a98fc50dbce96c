from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ...core.text_tables import Column
from ...events import asyncapi
from ...events.settings import LAYOUTS
from ..base import REFUSED, SagaCommand

COLUMNS = (
    Column(title="EVENT", least=12),
    Column(title="SENDER", least=8),
    Column(title="CONSUMERS", least=9),
    Column(title="VERSION"),
    Column(title="KEY", least=7),
    Column(title="TOPIC", least=6),
    Column(title="PERSONAL", least=8),
)


class Command(SagaCommand):
    help = (
        "List the events that apps declare: who sends and who handles them, their version, key and topic,\n"
        "and the personal data that leave for the broker. --asyncapi describes them for other services."
    )
    example = "manage.py event_catalogue\n  manage.py event_catalogue --asyncapi --layout type > asyncapi.yaml"
    prints_table = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the format and the layout."""
        parser.add_argument("--asyncapi", action="store_true", help="print AsyncAPI 3.0, as YAML or with --json")
        parser.add_argument("--layout", choices=LAYOUTS, default="", help="layout of topics (default: the setting)")

    def run(self, options: Mapping[str, Any]) -> None:
        """Print the catalogue."""
        entries = asyncapi.list_entries(options["layout"])
        if options["asyncapi"]:
            document = asyncapi.describe(entries)
            if options["json"]:
                self.print_json(document)
            else:
                self.stdout.write_file(_write_yaml(document))
        elif options["json"]:
            self.print_json([entry.as_dict() for entry in entries])
        elif entries:
            self.print_table(COLUMNS, [_describe(entry) for entry in entries], options)
        else:
            self.stdout.write("No app declares an event. Decorate a class with @event(...) in <app>/events.py.")


def _describe(entry: asyncapi.Entry) -> list[str]:
    consumers, personal = (", ".join(names) or "-" for names in (entry.consumers, entry.personal))
    event = entry.event
    return [event.name, entry.sender, consumers, str(event.version), event.wire_key or "-", entry.topic, personal]


def _write_yaml(document: Mapping[str, Any]) -> str:
    try:
        import yaml  # an extra
    except ModuleNotFoundError as error:
        raise CommandError(
            "YAML needs PyYAML, which the extra sagas-for-django[events] installs. Add --json for JSON.",
            returncode=REFUSED,
        ) from error

    class Plain(yaml.SafeDumper):
        """Dumper that writes every value in full."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(dict(document), Dumper=Plain, sort_keys=False, allow_unicode=True, width=100)
