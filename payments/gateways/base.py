"""What every payment gateway can do, and the words it answers in. Knows no provider and no row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """Name one authorisation: the request that was made for it, and what the provider called it."""

    key: str
    """The idempotency key of the authorise; all other requests find the authorisation by it."""
    order_number: str = ""
    """The merchant's reference; empty when nobody here ever asked for this authorisation."""
    amount_minor: int = 0
    """In the currency's smallest unit; 0 when nobody here ever asked for it."""
    currency: str = ""
    """ISO 4217."""
    payment_method: str = ""
    """The provider's name of the card or account."""
    reference: str = ""
    """The provider's own id; empty while no answer came."""

    @property
    def is_known(self) -> bool:
        """Tell whether the request of the authorise is known, so that it can be repeated."""
        return self.amount_minor > 0


@dataclass(frozen=True, kw_only=True)
class Approved:
    """Say that the provider did it."""

    reference: str
    """The provider's own id of the operation; empty when there was nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Declined:
    """Say that the provider refused for a reason of the payer's; final under this key."""

    code: str
    """A short machine-readable reason, never empty."""


Answer = Approved | Declined


class Gateway(Protocol):
    """Ask a payment provider; every request carries an idempotency key and may be repeated under it.

    Raises: GatewayUnavailable and GatewayMisconfigured (nothing happened), GatewayAnswerLost (it may have),
        GatewayConflict (refused because of what was done before), PaymentKeyReused (same key, other request).
    Tx: must not be inside one; a call may take seconds and cannot be rolled back.
    """

    def authorize(self, authorization: Authorization) -> Answer:
        """Hold the amount under ``authorization.key``.

        Raises: also GatewayKeyClosed, when a void under this key came first.
        """

    def capture(self, *, key: str, authorization: Authorization) -> Answer:
        """Take the held amount, whole and at most once."""

    def void(self, *, key: str, authorization: Authorization) -> Answer:
        """Let go of what is held, and close ``authorization.key`` so that a late authorise holds nothing.

        Works on the authorisation's key alone. Nothing there is success.
        """

    def refund(self, *, key: str, authorization: Authorization, amount_minor: int) -> Answer:
        """Give back a part of the captured amount."""

    def find(self, *, key: str, authorization: Authorization) -> Answer | None:
        """Look up what became of the request with this idempotency key, without doing anything.

        Returns: None when the provider knows of no such request.
        Raises: also GatewayAmountDiffers, when the provider's books show another amount than the authorisation's.
        """

    def require_chargeable(self, *, amount_minor: int, currency: str) -> None:
        """Return if the provider can take and give back this amount; asks nobody.

        Raises: AmountNotChargeable.
        """
