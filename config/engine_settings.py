"""Engine settings from one JSON object, a form that fits into an environment variable."""

import json
from dataclasses import fields
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from sagas.conf import SagaSettings
from sagas.core.retry import RetryPolicy
from sagas.events.settings import EventSettings
from sagas.exceptions import SagaError


def read_engine_settings(text: str) -> dict[str, Any]:
    """Return the value of ``SAGAS`` from JSON; the engine itself refuses unknown names.

    Shape: durations are numbers, retry policies are objects of RetryPolicy's arguments.
    Units: seconds.
    Raises: ImproperlyConfigured.
    """
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise ImproperlyConfigured(f"SAGAS is not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise ImproperlyConfigured("SAGAS must be a JSON object of engine settings.")
    return {name: read_value(name, value) for name, value in given.items()}


def read_value(name: str, value: object) -> object:
    """Return the value of an engine setting from JSON."""
    if name == "EVENTS" and isinstance(value, dict):
        return {key: _read_typed(EventSettings, key, part, f"SAGAS['EVENTS'][{key!r}]") for key, part in value.items()}
    return _read_typed(SagaSettings, name, value, f"SAGAS[{name!r}]")


def _read_typed(settings: type[SagaSettings | EventSettings], name: str, value: object, where: str) -> object:
    declared = {field.name.upper(): field.type for field in fields(settings)}.get(name)
    if declared is timedelta and isinstance(value, int | float) and not isinstance(value, bool):
        return timedelta(seconds=value)
    if declared is RetryPolicy and isinstance(value, dict):
        try:
            return RetryPolicy(**value)
        except (TypeError, SagaError) as error:
            raise ImproperlyConfigured(f"{where} is not a valid retry policy: {error}") from error
    return value
