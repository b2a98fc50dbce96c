"""What can go wrong with orders.

::

    OrdersError
    ├── CheckoutRefused            this checkout cannot be placed as asked; nothing was stored
    │   ├── UnknownProducts        SKUs that are not in the catalogue, or not sold any more
    │   ├── MixedCurrencies        products that are not priced in one currency
    │   ├── TotalNotChargeable     the payment provider cannot take this total
    │   ├── PriceChanged           the total is not what the customer expected
    │   └── EventsOff              a choreographed checkout, where no events are transported
    ├── IdempotencyError
    │   ├── IdempotencyKeyReused   the key came with another request before
    │   └── RequestInFlight        the first request with this key is still being processed
    ├── OrderNotFound              no such order, or not one of this customer
    ├── OrderStateConflict         the order has ended the other way already
    ├── CancelTooLate              the checkout can no longer be compensated
    ├── CancelNotAllowed           this user may not cancel this order
    ├── LogInRefused               wrong user name or password
    └── AllowanceSpent             too many requests
"""

from collections.abc import Mapping, Sequence


class OrdersError(Exception):
    """Root of everything this app raises on purpose."""


class CheckoutRefused(OrdersError):
    """The checkout cannot be placed as asked."""


class UnknownProducts(CheckoutRefused):
    """Lines name a SKU that cannot be ordered.

    Shape: ``lines`` maps the line's position to its SKU.
    """

    def __init__(self, lines: Mapping[int, str]) -> None:
        self.lines = dict(lines)
        super().__init__(f"Not in the catalogue: {', '.join(self.lines.values())}; see GET /api/v1/products/.")


class MixedCurrencies(CheckoutRefused):
    """The products are not priced in one currency."""

    def __init__(self, currencies: Sequence[str]) -> None:
        self.currencies = tuple(currencies)
        super().__init__(
            f"These products have different currencies: {', '.join(currencies)}; place one order per currency."
        )


class TotalNotChargeable(CheckoutRefused):
    """The payment provider does not take the currency of the products, or cannot express their total."""

    def __init__(self, total: str) -> None:
        self.total = total
        super().__init__(f"The payment provider cannot charge {total}; order other products or another quantity.")


class PriceChanged(CheckoutRefused):
    """The total is not the expected one."""

    def __init__(self, *, amount_minor: int, currency: str) -> None:
        self.amount_minor = amount_minor
        self.currency = currency
        super().__init__(
            f"The total is now {amount_minor} {currency} (minor units); send it as expected_total to accept it."
        )


class EventsOff(CheckoutRefused):
    """A choreographed checkout needs a transport of events, and none is configured."""

    def __init__(self) -> None:
        super().__init__("This shop transports no events; send orchestration as the coordination, or none.")


class IdempotencyError(OrdersError):
    """The idempotency key cannot be used for this request now."""


class IdempotencyKeyReused(IdempotencyError):
    """The key belongs to another request."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another body; use a new key for a new checkout.")


class RequestInFlight(IdempotencyError):
    """The first request with this key has not ended.

    Units: ``retry_after`` in seconds.
    """

    retry_after = 1

    def __init__(self) -> None:
        super().__init__("The first request with this Idempotency-Key is still being processed; retry in a second.")


class OrderNotFound(OrdersError):
    """This customer has no such order."""

    def __init__(self, number: str) -> None:
        self.number = number
        super().__init__(f"Order {number} not found.")


class OrderStateConflict(OrdersError):
    """The order has ended the other way; nothing was changed."""

    def __init__(self, number: str, status: str) -> None:
        self.number = number
        self.status = status
        super().__init__(f"Order {number} is already {status}, which is final.")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.number, self.status)


class CancelTooLate(OrdersError):
    """The order cannot be cancelled any more."""

    def __init__(self, number: str) -> None:
        self.number = number
        super().__init__(f"Order {number} cannot be cancelled any more; ask for a return instead.")


class CancelNotAllowed(OrdersError):
    """This user may not cancel the order."""

    def __init__(self, number: str) -> None:
        self.number = number
        super().__init__(f"You may view order {number} but not cancel it.")


class LogInRefused(OrdersError):
    """User name or password is wrong."""

    def __init__(self) -> None:
        super().__init__("Wrong user name or password.")


class AllowanceSpent(OrdersError):
    """Too many requests.

    Units: ``retry_after`` in seconds.
    """

    def __init__(self, *, scope: str, retry_after: float) -> None:
        self.scope = scope
        self.retry_after = retry_after
        super().__init__(f"Too many requests ({scope}); try again in {retry_after:.0f} seconds.")
