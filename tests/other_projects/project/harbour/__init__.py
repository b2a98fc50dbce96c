"""Another project on the installed engine: it sells ferry crossings."""

from .celery import app

__all__ = ["app"]
