"""Transports of events: one contract, one module for each broker."""

import importlib

from django.core.exceptions import ImproperlyConfigured

from ..cloudevents import has_package
from ..settings import EventSettings, get_event_settings
from .base import Transport

# Modules by the scheme of SAGAS["EVENTS"]["URL"].
IN_PROCESS = "memory"
MODULES = {"memory": "memory", "redis": "redis", "rediss": "redis"}

INSTALL = "Install the extra: pip install 'sagas-for-django[events]'."


def make_transport() -> Transport:
    """Return a new connection to the configured broker; it connects on first use. Not shared between threads.

    Raises: ImproperlyConfigured when events are off, the scheme is unknown, its client or the extra ``events`` is not
        installed, or an option is wrong.
    """
    return connect(get_event_settings())


def connect(settings: EventSettings) -> Transport:
    """Return a new connection to the broker that settings name, as ``make_transport`` does."""
    if settings.transport not in MODULES:
        raise ImproperlyConfigured(
            f"SAGAS['EVENTS']['URL'] begins with {settings.transport!r}; known transports: {', '.join(MODULES)}."
        )
    if not has_package():
        raise ImproperlyConfigured(f"Events are on, but cloudevents is not installed. {INSTALL}")
    try:
        module = importlib.import_module(f"{__name__}.{MODULES[settings.transport]}")
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f"The transport {settings.transport} needs {error.name}, which is not installed."
        ) from error
    made: Transport = module.make_transport(settings)
    return made
