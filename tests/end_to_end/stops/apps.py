"""Name the app that puts the stops in place."""

import os
from pathlib import Path

from django.apps import AppConfig

from .points import DIRECTORY_VARIABLE, Marks


class StopsConfig(AppConfig):
    """Install the stops where the environment names a directory for their marks."""

    name = "tests.end_to_end.stops"
    label = "acceptance_stops"

    def ready(self) -> None:
        """Wrap what the engine calls."""
        from .hooks import install

        if directory := os.environ.get(DIRECTORY_VARIABLE):
            install(Marks(directory=Path(directory)))
