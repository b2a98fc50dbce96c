"""Currencies of ISO 4217, and formatting of amounts."""

# ISO 4217, table A.1 (2026), column "minor unit"; no other numbers of decimals exist. ANG, BGN, HRK and SLL left it in
# recent years and stay here for payments made in them.
_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
        CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG
        HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
        MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE
        SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER
        ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DECIMALS = {code: decimals for decimals, codes in _CODES.items() for code in codes.split()}


def format_money(amount_minor: int, currency: str) -> str:
    """Return an amount with its currency's decimals, for example ``12.50 EUR``; a dash without a currency.

    The minor unit of a code that is not in ISO 4217 is unknown, so its amount is marked as minor units.

    Units: amount_minor in the currency's smallest unit. Integers only, so nothing is ever rounded.
    """
    if not currency:
        return "-"
    decimals = DECIMALS.get(currency)
    if decimals is None:
        return f"{amount_minor} {currency} (minor units)"
    sign = "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**decimals)
    digits = f"{whole}.{part:0{decimals}d}" if decimals else str(whole)
    return f"{sign}{digits} {currency}"
