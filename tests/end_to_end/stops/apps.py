"""App configuration that installs the stops."""

import os
from pathlib import Path

from django.apps import AppConfig

from .points import DIRECTORY_VARIABLE, Marks


class StopsConfig(AppConfig):
    """App that installs the stops if the environment names a directory for their marks."""

    name = "tests.end_to_end.stops"
    label = "acceptance_stops"

    def ready(self) -> None:
        """Wrap the engine's calls."""
        from .hooks import install

        if directory := os.environ.get(DIRECTORY_VARIABLE):
            install(Marks(directory=Path(directory)))
