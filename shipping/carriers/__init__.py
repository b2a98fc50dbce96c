"""The ways to a carrier. There is one: the sandbox."""

from __future__ import annotations

from .base import Carrier


def get_carrier() -> Carrier:
    """Make the carrier."""
    # Imported when used: the sandbox needs its models loaded.
    from .sandbox import SandboxCarrier

    return SandboxCarrier()
