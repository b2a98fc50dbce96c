"""Interface of all payment gateways and types of their answers. Independent of providers and models."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """Authorisation: its request, and the provider's id of it."""

    key: str
    """Idempotency key of the authorise; all other requests find the authorisation by it."""
    order_number: str = ""
    """Merchant's reference; empty if this authorisation was never requested here."""
    amount_minor: int = 0
    """Amount in the currency's smallest unit; 0 if it was never requested here."""
    currency: str = ""
    """Code of ISO 4217."""
    payment_method: str = ""
    """Provider's name of the card or account."""
    reference: str = ""
    """Provider's id; empty until it has answered."""

    @property
    def is_known(self) -> bool:
        """Whether the authorise request is known, so that it can be repeated."""
        return self.amount_minor > 0


@dataclass(frozen=True, kw_only=True)
class Approved:
    """Answer that the provider carried out the request."""

    reference: str
    """Provider's id of the operation; empty if there was nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Declined:
    """Answer that the provider refused for a reason of the payer's; final under this key."""

    code: str
    """Short machine-readable reason, never empty."""


Answer = Approved | Declined


class Gateway(Protocol):
    """Client of a payment provider; every request carries an idempotency key and may be repeated under it.

    Raises: GatewayUnavailable and GatewayMisconfigured (nothing happened), GatewayAnswerLost (it may have),
        GatewayConflict (refused because of an earlier request), PaymentKeyReused (same key, other request).
    Tx: must not be inside one; a call may take seconds and cannot be rolled back.
    """

    def authorize(self, authorization: Authorization) -> Answer:
        """Hold the amount under ``authorization.key``.

        Raises: also GatewayKeyClosed, if a void under this key came first.
        """

    def capture(self, *, key: str, authorization: Authorization) -> Answer:
        """Capture the whole held amount, at most once."""

    def void(self, *, key: str, authorization: Authorization) -> Answer:
        """Release the held money, and close ``authorization.key`` so that a late authorise holds nothing.

        The authorisation's key suffices. A missing authorisation counts as success.
        """

    def refund(self, *, key: str, authorization: Authorization, amount_minor: int) -> Answer:
        """Refund a part of the captured amount, or all of it."""

    def find(self, *, key: str, authorization: Authorization) -> Answer | None:
        """Return the answer to the request with this idempotency key, without changing anything.

        Returns: None if the provider knows no such request.
        Raises: also GatewayAmountDiffers, if the provider's books show another amount than the authorisation's.
        """

    def require_chargeable(self, *, amount_minor: int, currency: str) -> None:
        """Check that the provider can charge and refund this amount, without asking it.

        Raises: AmountNotChargeable.
        """
