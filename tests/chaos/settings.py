"""Settings with the apps that only these tests need: stops and obstacles."""

from tests.end_to_end.settings import *  # noqa: F403
from tests.end_to_end.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.obstacles"]
