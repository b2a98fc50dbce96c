from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from ...core.text_tables import Column
from ...monitoring.versions import find_unknown_versions
from ..base import REFUSED, SagaCommand

COLUMNS = (
    Column(title="DEFINITION", least=24),
    Column(title="OPEN SAGAS"),
    Column(title="OLDEST STARTED"),
    Column(title="PROBLEM"),
)
MAX_NAMED = 10


class Command(SagaCommand):
    help = (
        "Find open sagas whose definition version or digest the code no longer has; exit code 1 if there are any.\n"
        "Run it with the new code before you deploy it."
    )
    example = "manage.py saga_check_versions && ./deploy"
    prints_table = True

    def run(self, options: Mapping[str, Any]) -> None:
        """List the unknown versions of open sagas.

        Raises: CommandError if there are any.
        """
        found = find_unknown_versions()
        if options["json"]:
            self.print_json([version.as_dict() for version in found])
        elif found:
            rows = [
                (v.name_and_version, str(v.count), f"{v.oldest_at:%Y-%m-%d %H:%M:%S}", v.problem.value) for v in found
            ]
            self.print_table(COLUMNS, rows, options)
        else:
            self.stdout.write("The code has the definition of every open saga.")
        if found:
            problems = [version.describe() for version in found[:MAX_NAMED]]
            problems += [f"{len(found) - MAX_NAMED} more are listed above."] if len(found) > MAX_NAMED else []
            raise CommandError(" ".join(problems), returncode=REFUSED)
