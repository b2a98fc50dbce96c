"""WSGI entry point of the web process, the only one with a pool of database connections."""

import os

from django.core.wsgi import get_wsgi_application

from .bodies import BodyKeeper

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# A pool does not survive a fork, so neither a Celery worker nor a command gets one.
os.environ.setdefault("DATABASE_POOL_SIZE", "8")

application = BodyKeeper(get_wsgi_application())
