"""System checks of the shop's settings."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error
from rest_framework.settings import api_settings

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
