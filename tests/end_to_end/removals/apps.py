"""App configuration that removes a rule."""

import os

from django.apps import AppConfig

RULE_VARIABLE = "ACCEPTANCE_WITHOUT"
"""Environment variable: which rule this process is without."""


class RemovalsConfig(AppConfig):
    """App that removes the rule named by the environment."""

    name = "tests.end_to_end.removals"
    label = "acceptance_removals"

    def ready(self) -> None:
        """Patch the engine or a participant."""
        if rule := os.environ.get(RULE_VARIABLE):
            from .rules import REMOVALS

            REMOVALS[rule]()
