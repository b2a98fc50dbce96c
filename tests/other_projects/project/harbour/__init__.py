"""A project of somebody else, on the installed engine: it sells crossings by ferry."""

from .celery import app

__all__ = ["app"]
