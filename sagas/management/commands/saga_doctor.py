from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from ...monitoring.doctor import Level, examine
from ..base import REFUSED, SagaCommand


class Command(SagaCommand):
    help = (
        "Check everything the engine depends on, one line each: ok, warn or fail, and what to do about it.\n"
        "Exit code 1 if anything fails."
    )
    example = "manage.py saga_doctor"
    # The command reports the results of the system checks instead of failing on them.
    requires_system_checks = ()

    def run(self, options: Mapping[str, Any]) -> None:
        """Examine everything, and print the findings.

        Raises: CommandError if something fails.
        """
        found = list(examine())
        if options["json"]:
            self.print_json([finding.as_dict() for finding in found])
        else:
            for finding in found:
                self.stdout.write(finding.as_line())
        failed = [finding.name for finding in found if finding.level is Level.FAIL]
        if failed:
            raise CommandError(f"Failed: {', '.join(failed)}.", returncode=REFUSED)
