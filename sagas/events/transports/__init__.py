"""Transports of events: one contract, one module for each broker."""

import importlib

from django.core.exceptions import ImproperlyConfigured

from ..settings import get_event_settings
from .base import Transport

# Modules by the scheme of SAGAS["EVENTS"]["URL"].
IN_PROCESS = "memory"
MODULES = {"memory": "memory", "redis": "redis", "rediss": "redis"}


def make_transport() -> Transport:
    """Return a new connection to the configured broker; it connects on first use. Not shared between threads.

    Raises: ImproperlyConfigured when events are off, the scheme is unknown, or its client is not installed.
    """
    settings = get_event_settings()
    if settings.transport not in MODULES:
        raise ImproperlyConfigured(
            f"SAGAS['EVENTS']['URL'] begins with {settings.transport!r}; known transports: {', '.join(MODULES)}."
        )
    try:
        module = importlib.import_module(f"{__name__}.{MODULES[settings.transport]}")
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f"The transport {settings.transport} needs {error.name}, which is not installed."
        ) from error
    made: Transport = module.make_transport(settings)
    return made
