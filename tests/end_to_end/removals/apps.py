"""Name the app that takes a rule away."""

import os

from django.apps import AppConfig

RULE_VARIABLE = "ACCEPTANCE_WITHOUT"
"""Environment variable: which rule this process is without."""


class RemovalsConfig(AppConfig):
    """Take away what the environment asks for."""

    name = "tests.end_to_end.removals"
    label = "acceptance_removals"

    def ready(self) -> None:
        """Change what the engine, or a participant, does."""
        if rule := os.environ.get(RULE_VARIABLE):
            from .rules import REMOVALS

            REMOVALS[rule]()
