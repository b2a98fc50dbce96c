"""Gateways to payment providers; the setting PAYMENT_GATEWAY selects one."""

from django.conf import settings

from payments.exceptions import GatewayMisconfigured

from .base import Gateway


def get_gateway() -> Gateway:
    """Return the gateway that the settings name.

    Raises: GatewayMisconfigured if the name is unknown, or the gateway lacks a package or a credential.
    """
    # Imported on use: the sandbox needs its models loaded, and Stripe's package is optional.
    name = getattr(settings, "PAYMENT_GATEWAY", "sandbox")
    if name == "sandbox":
        from .sandbox import SandboxGateway

        return SandboxGateway()
    if name == "stripe":
        try:
            from .stripe import StripeGateway
        except ImportError as error:
            raise GatewayMisconfigured(
                "PAYMENT_GATEWAY is 'stripe', but its package is not installed; install the extra 'stripe' and restart."
            ) from error
        return StripeGateway.from_settings()
    raise GatewayMisconfigured(
        f"PAYMENT_GATEWAY is {name!r}, which is not a known gateway; set it to sandbox or stripe and restart."
    )
