"""System checks of the payment gateway's settings."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error

GATEWAY_NAMES = ("sandbox", "stripe")


def check_gateway(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report a gateway that cannot work with these settings."""
    name = getattr(settings, "PAYMENT_GATEWAY", "sandbox")
    if name not in GATEWAY_NAMES:
        return [
            Error(
                f"PAYMENT_GATEWAY is {name!r}, which is not a known gateway.",
                hint=f"Set it to one of: {', '.join(GATEWAY_NAMES)}.",
                id="payments.E001",
            )
        ]
    if name != "stripe":
        return []
    found: list[CheckMessage] = []
    if find_spec("stripe") is None:
        found.append(
            Error(
                "PAYMENT_GATEWAY is 'stripe', but the package stripe is not installed.",
                hint="Install the project's extra 'stripe', or set PAYMENT_GATEWAY=sandbox.",
                id="payments.E002",
            )
        )
    if not getattr(settings, "STRIPE_API_KEY", ""):
        found.append(
            Error(
                "PAYMENT_GATEWAY is 'stripe', but STRIPE_API_KEY is empty.",
                hint="Set STRIPE_API_KEY to the account's secret key, or set PAYMENT_GATEWAY=sandbox.",
                id="payments.E003",
            )
        )
    return found
