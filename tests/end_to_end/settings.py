"""Settings with the apps that only acceptance tests need."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

# A worker that receives SIGQUIT gives its steps a second instead of half a minute.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 1

INSTALLED_APPS = [*INSTALLED_APPS, "tests.end_to_end.stops", "tests.end_to_end.rendezvous", "tests.end_to_end.removals"]
