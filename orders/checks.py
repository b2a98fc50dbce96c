"""System checks of the shop's settings."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from rest_framework.settings import api_settings

from sagas.events.settings import get_event_settings

from .models import Coordination
from .rates import parse_rate

# Each allowance, and the variable that this project reads it from.
VARIABLES = {
    "checkout": "CHECKOUT_RATE",
    "sagas": "OPERATOR_RATE",
    "log-in": "LOG_IN_RATE",
    "log-in-account": "LOG_IN_ACCOUNT_RATE",
    "log-in-address": "LOG_IN_ADDRESS_RATE",
}


def check_rates(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report a rate that is missing or cannot be read: every request that it limits would fail."""
    rates = api_settings.DEFAULT_THROTTLE_RATES
    found: list[CheckMessage] = []
    for scope, variable in VARIABLES.items():
        try:
            parse_rate(rates.get(scope))
        except ValueError as error:
            found.append(
                Error(
                    f"REST_FRAMEWORK['DEFAULT_THROTTLE_RATES'][{scope!r}]: {error}",
                    hint=f"This project reads it from the environment variable {variable}.",
                    id="orders.E001",
                )
            )
    return found


def check_coordination(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report a default coordination that is unknown, or that every checkout would be refused for."""
    found = settings.CHECKOUT_COORDINATION
    if found not in Coordination.values:
        problem = f"CHECKOUT_COORDINATION is {found!r}, which is no coordination."
        return [Error(problem, hint=f"Set it to one of: {', '.join(Coordination.values)}.", id="orders.E002")]
    if found == Coordination.CHOREOGRAPHY and not get_event_settings().are_on:
        problem = "CHECKOUT_COORDINATION is 'choreography', but no transport of events is configured."
        return [Error(problem, hint="Set SAGAS['EVENTS']['URL'], or choose orchestration.", id="orders.E003")]
    return []
