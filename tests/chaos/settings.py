"""Add to the project's settings the apps that only these tests need: stops and hurdles."""

from tests.acceptance.settings import *  # noqa: F403
from tests.acceptance.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.hurdles"]
