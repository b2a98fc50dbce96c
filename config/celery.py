"""Celery application; its settings are in config/settings.py, its queues come from the saga definitions."""

import logging.config
import os
from collections.abc import Iterator
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

DEFAULT_QUEUE = "sagas"


class DefinitionQueues:
    """The default queue and every queue that a saga definition names, evaluated on each use.

    Lazy, because this module is imported before Django's apps, and so before the definitions.
    """

    def __iter__(self) -> Iterator[Queue]:
        """Yield one declaration per queue, sorted by name."""
        from sagas import conf
        from sagas.core.definition import registry

        for name in sorted({DEFAULT_QUEUE, conf.get_settings().common_queue, *registry.queues()}):
            yield Queue(name, Exchange(name, type="direct"), routing_key=name)


@setup_logging.connect(weak=False)
def configure_logging(**_signal: Any) -> None:
    """Configure a worker's logging as the project's; with this receiver, Celery does not configure logging."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.add_defaults(lambda: {"task_queues": DefinitionQueues()})
app.autodiscover_tasks()
