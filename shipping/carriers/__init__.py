"""Carriers. There is only the sandbox."""

from .base import Carrier


def get_carrier() -> Carrier:
    """Return the carrier."""
    # Imported on use: the sandbox needs its models loaded.
    from .sandbox import SandboxCarrier

    return SandboxCarrier()
