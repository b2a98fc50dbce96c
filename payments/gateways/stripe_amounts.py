"""Amounts in Stripe's units: for some currencies, its minor unit is not the one of ISO 4217.

The only place that converts. Amounts from Stripe are compared with the requested ones in Stripe's units.

Source: Stripe's documentation, "Supported currencies" (presentment currencies, zero-decimal, three-decimal, special
cases). Its rules for HUF and TWD concern payouts; charges in them have two decimals, as in ISO 4217.
"""

from dataclasses import dataclass

from payments.exceptions import AmountNotChargeable
from payments.money import DECIMALS, format_money


@dataclass(frozen=True, kw_only=True)
class StripeUnit:
    """Stripe's unit of one currency."""

    decimals: int
    """Decimals of the currency in one unit."""
    step: int = 1
    """Number of units of which amounts must be a multiple."""


_TWO = StripeUnit(decimals=2)
_ZERO = StripeUnit(decimals=0)
# Two decimals for compatibility, although the currencies no longer have any: the last two digits are always 00.
_ZERO_WRITTEN_AS_TWO = StripeUnit(decimals=2, step=100)
# Three decimals, of which the last must be 0.
_THREE = StripeUnit(decimals=3, step=10)

_CODES = (
    (
        _TWO,
        """
        AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC
        CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD KES KGS KHR KYD
        KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP
        PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST
        XCD XCG YER ZAR ZMW
        """,
    ),
    (_ZERO, "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"),
    (_ZERO_WRITTEN_AS_TWO, "ISK UGX"),
    (_THREE, "BHD JOD KWD OMR TND"),
)
STRIPE_UNITS = {code: unit for unit, codes in _CODES for code in codes.split()}


def convert_to_stripe(amount_minor: int, currency: str, *, key: str = "") -> int:
    """Return the amount in Stripe's unit of the currency.

    Units: amount_minor in the smallest unit of ISO 4217.
    Raises: AmountNotChargeable for a currency that Stripe does not support, or an amount that its unit cannot express.
    """
    unit = STRIPE_UNITS.get(currency)
    if unit is None:
        raise AmountNotChargeable(
            f"Stripe does not support {currency or 'an unnamed currency'}; nothing happened. "
            "Price the products in a currency that Stripe supports, or set another PAYMENT_GATEWAY.",
            key=key,
        )
    amount, rest = divmod(amount_minor * 10**unit.decimals, 10 ** DECIMALS[currency])
    if rest or amount % unit.step:
        step = format_money(unit.step * 10 ** DECIMALS[currency] // 10**unit.decimals, currency)
        raise AmountNotChargeable(
            f"Stripe cannot charge or refund {format_money(amount_minor, currency)}, only multiples of {step}; "
            f"nothing happened. Choose prices and refunds in steps of {step}.",
            key=key,
        )
    return amount
