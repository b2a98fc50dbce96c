"""Checkout requests of customers, already validated."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from .models import Coordination


@dataclass(frozen=True, kw_only=True)
class LineRequest:
    """A quantity of one SKU."""

    sku: str
    """The SKU as in the catalogue."""
    quantity: int
    """Units, 1 to MAX_QUANTITY."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """A shipping address."""

    name: str
    """Who receives them."""
    line1: str
    """Street and number."""
    line2: str
    """Whatever else the carrier needs; empty for nothing."""
    city: str
    """Town."""
    postal_code: str
    """Postal code, as written in that country."""
    country: str
    """ISO 3166-1 alpha-2."""


@dataclass(frozen=True, kw_only=True)
class Money:
    """An amount in the smallest unit of its currency."""

    amount_minor: int
    """Cents, for most currencies."""
    currency: str
    """ISO 4217."""


@dataclass(frozen=True, kw_only=True)
class CheckoutRequest:
    """A request for an order."""

    lines: tuple[LineRequest, ...]
    """At least one, no SKU twice."""
    payment_method: str
    """The payment provider's reference."""
    shipping_address: Address
    """Where the goods go."""
    expected_total: Money | None = None
    """What the customer saw; None: any total is accepted."""
    coordination: Coordination = Coordination.ORCHESTRATION
    """How the participants work together."""


def compute_digest(body: Any) -> str:
    """Return the digest by which a repeated request is recognised: the same JSON value, whatever its white space."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
