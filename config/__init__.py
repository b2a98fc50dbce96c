"""Project configuration: settings, URLs, Celery. Only entry points import this package."""

from .celery import app as celery_app

__all__ = ["celery_app"]
