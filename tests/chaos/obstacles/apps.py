"""App configuration that installs the obstacles."""

import os

from django.apps import AppConfig

CLOCK_VARIABLE = "CHAOS_CLOCK"
"""Environment variable: how many seconds the process's clock is ahead, or ``jumping``."""
SLOWNESS_VARIABLE = "CHAOS_STEP_SECONDS"
"""Environment variable: how many seconds every step function takes longer, on average."""
VERSIONS_VARIABLE = "CHAOS_VERSIONS"
"""Environment variable: which versions of a saga the process's code has, such as ``1,2``."""


class ObstaclesConfig(AppConfig):
    """App that installs what the environment asks for."""

    name = "tests.chaos.obstacles"
    label = "chaos_obstacles"

    def ready(self) -> None:
        """Disturb this process."""
        from . import clocks, slowness

        if clock := os.environ.get(CLOCK_VARIABLE):
            clocks.disturb(clock)
        if seconds := float(os.environ.get(SLOWNESS_VARIABLE, "0")):
            slowness.install(seconds)
