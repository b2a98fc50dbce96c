"""Wire the project together: settings, URLs, Celery. Nobody imports this package except its entry points."""

from __future__ import annotations

from .celery import app as celery_app

__all__ = ["celery_app"]
