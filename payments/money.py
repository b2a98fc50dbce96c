"""Write money for people."""

from __future__ import annotations

# ISO 4217, table A.1, column "minor unit"; every currency that is not listed has two decimals.
DECIMALS_OTHER_THAN_TWO = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF"), 0
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
DECIMALS_OTHER_THAN_TWO["XPF"] = 0


def format_money(amount_minor: int, currency: str) -> str:
    """Write an amount with its currency's decimals, for example ``12.50 EUR``; a dash without a currency.

    Units: amount_minor in the currency's smallest unit. Whole numbers only, so nothing is ever rounded.
    """
    if not currency:
        return "-"
    decimals = DECIMALS_OTHER_THAN_TWO.get(currency, 2)
    sign = "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**decimals)
    digits = f"{whole}.{part:0{decimals}d}" if decimals else str(whole)
    return f"{sign}{digits} {currency}"
