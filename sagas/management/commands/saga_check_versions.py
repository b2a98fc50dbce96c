from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from ...versions import find_unknown_versions
from ..base import REFUSED, SagaCommand, describe_table

HEAD = ("DEFINITION", "OPEN SAGAS", "OLDEST FROM", "WHAT IS WRONG")


class Command(SagaCommand):
    help = (
        "Look for open sagas whose definition version or digest the code no longer has; exit code 1 if there are any.\n"
        "Run it with the new code before that replaces the old."
    )
    example = "manage.py saga_check_versions && ./deploy"

    def run(self, options: Mapping[str, Any]) -> None:
        """Look.

        Raises: CommandError when there are any.
        """
        found = find_unknown_versions()
        if options["json"]:
            self.print_json([version.as_dict() for version in found])
        elif found:
            rows = [
                (v.name_and_version, str(v.count), f"{v.oldest_at:%Y-%m-%d %H:%M:%S}", v.problem.value) for v in found
            ]
            self.stdout.write("\n".join(describe_table(HEAD, rows)))
        else:
            self.stdout.write("The code has every definition that open sagas run on.")
        if found:
            raise CommandError(" ".join(version.describe() for version in found), returncode=REFUSED)
