"""Amounts sent to Stripe: each currency in Stripe's minor unit, and compared with what Stripe recorded."""

from dataclasses import replace

import pytest

from payments.exceptions import AmountNotChargeable, GatewayAmountDiffers, GatewayAnswerLost, GatewayMisconfigured
from payments.gateways.base import Approved, Authorization
from payments.gateways.stripe import StripeGateway
from payments.gateways.stripe_amounts import STRIPE_UNITS, convert_to_stripe
from payments.models import Payment, PaymentOperation
from payments.money import DECIMALS, format_money
from payments.services import authorize, capture, refund, void

from .gateway_contract import hold, make_authorization
from .stripe_fake import API_KEY, FakeStripe

# Exceptions from two decimals on Stripe's page, written down a second time.
ZERO_DECIMAL = ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
ALWAYS_00 = ["ISK", "UGX"]
LAST_DIGIT_0 = ["BHD", "JOD", "KWD", "OMR", "TND"]


@pytest.fixture
def gateway(served: tuple[FakeStripe, str]) -> StripeGateway:
    return StripeGateway(api_key=API_KEY, api_base=served[1])


def make_priced(currency: str, amount_minor: int) -> Authorization:
    return replace(make_authorization(), currency=currency, amount_minor=amount_minor)


def fifty_units(currency: str) -> int:
    """Return 50.00 of a currency in ISO 4217's minor unit."""
    return 50 * 10 ** DECIMALS[currency]


@pytest.mark.parametrize("currency", sorted(STRIPE_UNITS))
def test_fifty_units_of_every_currency_are_fifty_units_at_stripe(currency: str) -> None:
    sent = convert_to_stripe(fifty_units(currency), currency)

    if currency in ZERO_DECIMAL:
        assert sent == 50
    elif currency in LAST_DIGIT_0:
        assert sent == 50_000
    else:
        assert sent == 5_000


def test_exceptions_are_exactly_those_of_stripes_page() -> None:
    def with_unit(decimals: int, step: int) -> set[str]:
        return {code for code, unit in STRIPE_UNITS.items() if (unit.decimals, unit.step) == (decimals, step)}

    assert with_unit(0, 1) == set(ZERO_DECIMAL)
    assert with_unit(2, 100) == set(ALWAYS_00)
    assert with_unit(3, 10) == set(LAST_DIGIT_0)
    assert len(with_unit(2, 1)) == len(STRIPE_UNITS) - len(ZERO_DECIMAL) - len(ALWAYS_00) - len(LAST_DIGIT_0)
    assert set(STRIPE_UNITS) < set(DECIMALS)
    # Currencies where the two differ; all others are sent unchanged.
    differing = {code for code in STRIPE_UNITS if convert_to_stripe(fifty_units(code), code) != fifty_units(code)}
    assert differing == {"ISK", "UGX", "MGA"}


@pytest.mark.parametrize(
    ("amount_minor", "currency", "sent"),
    [
        (5000, "UGX", 500_000), (1, "UGX", 100), (1290, "ISK", 129_000), (1250, "HUF", 1250), (1250, "TWD", 1250),
        (500, "JPY", 500), (1250, "EUR", 1250), (700, "MGA", 7), (5120, "KWD", 5120), (5120, "TND", 5120),
        (9_007_199_254_740_991, "EUR", 9_007_199_254_740_991),
        (90_071_992_547_409_910, "UGX", 9_007_199_254_740_991_000),
    ],
)  # fmt: skip
def test_amount_is_converted_exactly(amount_minor: int, currency: str, sent: int) -> None:
    assert convert_to_stripe(amount_minor, currency) == sent


@pytest.mark.parametrize(
    ("amount_minor", "currency", "beginning"),
    [
        (5124, "KWD", "Stripe cannot charge or refund 5.124 KWD, only multiples of 0.010 KWD; nothing happened."),
        (1, "BHD", "Stripe cannot charge or refund 0.001 BHD, only multiples of 0.010 BHD; nothing happened."),
        (1250, "MGA", "Stripe cannot charge or refund 12.50 MGA, only multiples of 1.00 MGA; nothing happened."),
        (1250, "IQD", "Stripe does not support IQD; nothing happened."),
        (1250, "CLF", "Stripe does not support CLF; nothing happened."),
        (1250, "ABC", "Stripe does not support ABC; nothing happened."),
        (1250, "eur", "Stripe does not support eur; nothing happened."),
        (1250, "", "Stripe does not support an unnamed currency; nothing happened."),
    ],
)
def test_amount_that_stripe_cannot_express_is_refused_before_anything_is_sent(
    gateway: StripeGateway, stripe_books: FakeStripe, amount_minor: int, currency: str, beginning: str
) -> None:
    authorization = make_priced(currency, amount_minor)
    with pytest.raises(AmountNotChargeable) as caught:
        gateway.authorize(authorization)

    assert str(caught.value).startswith(beginning)
    assert caught.value.key == authorization.key
    assert isinstance(caught.value, GatewayMisconfigured)
    assert stripe_books.requests == []


@pytest.mark.parametrize(("currency", "sent"), [("UGX", 500_000), ("ISK", 500_000), ("JPY", 5000), ("MGA", 50)])
def test_all_requests_use_the_same_unit(
    gateway: StripeGateway, stripe_books: FakeStripe, currency: str, sent: int
) -> None:
    authorization = hold(gateway, make_priced(currency, 5000))
    key = f"{authorization.key}:capture"
    captured = gateway.capture(key=key, authorization=authorization)
    gateway.refund(key=f"{key}:refund", authorization=authorization, amount_minor=2000)

    assert [(row["amount"], row["currency"]) for row in stripe_books.intents.values()] == [(sent, currency.lower())]
    assert [row["amount"] for row in stripe_books.refunds] == [sent * 2 // 5]
    assert gateway.find(key=authorization.key, authorization=authorization) == captured
    assert gateway.find(key=key, authorization=authorization) == captured


def test_other_amount_at_stripe_is_no_success(gateway: StripeGateway, stripe_books: FakeStripe) -> None:
    held = hold(gateway, make_priced("UGX", 5000))
    stripe_books.off_by = -495_000
    with pytest.raises(GatewayAmountDiffers) as at_authorize:
        gateway.authorize(make_priced("UGX", 5000))
    with pytest.raises(GatewayAmountDiffers, match="recorded 5000 ugx for request c, but 500000 ugx was requested"):
        gateway.capture(key="c", authorization=held)
    with pytest.raises(GatewayAmountDiffers, match="recorded 5000 ugx for request c, but 500000 ugx was requested"):
        gateway.find(key="c", authorization=held)
    with pytest.raises(GatewayAmountDiffers, match="recorded 5000 ugx for request r, but 500000 ugx was requested"):
        gateway.refund(key="r", authorization=held, amount_minor=5000)

    # The outcome is unknown, not refused: something was done.
    assert isinstance(at_authorize.value, GatewayAnswerLost)


def test_other_currency_at_stripe_is_no_success(gateway: StripeGateway, stripe_books: FakeStripe) -> None:
    held = hold(gateway, make_priced("USD", 5000))
    stripe_books.intents[held.reference]["currency"] = "eur"
    with pytest.raises(GatewayAmountDiffers, match="recorded 5000 eur"):
        gateway.capture(key="c", authorization=held)


def test_void_of_an_amount_that_was_never_sent_closes_the_key(gateway: StripeGateway, stripe_books: FakeStripe) -> None:
    authorization = make_priced("KWD", 5124)

    assert isinstance(gateway.void(key="v", authorization=authorization), Approved)
    assert [row["status"] for row in stripe_books.intents.values()] == ["canceled"]
    assert stripe_books.requests == ["POST /v1/payment_intents", "POST /v1/payment_intents/pi_1/cancel"]


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_refund_that_stripe_cannot_express_reserves_nothing(served: tuple[FakeStripe, str], settings) -> None:
    books, base = served
    settings.PAYMENT_GATEWAY, settings.STRIPE_API_KEY, settings.STRIPE_API_BASE = "stripe", API_KEY, base
    authorize(key="k", order_number="A-1", amount_minor=5120, currency="KWD", payment_method="pm_card_visa")
    capture(key="k", provider_key="c")

    with pytest.raises(AmountNotChargeable, match=r"refund 1\.005 KWD"):
        refund(key="k", provider_key="r1", amount_minor=1005)

    assert PaymentOperation.objects.filter(kind="refund").count() == 0
    assert refund(key="k", provider_key="r2").refunded_minor == 5120
    assert [row["amount"] for row in books.refunds] == [5120]


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_payment_that_stripe_cannot_express_is_voided_automatically(served: tuple[FakeStripe, str], settings) -> None:
    books, base = served
    settings.PAYMENT_GATEWAY, settings.STRIPE_API_KEY, settings.STRIPE_API_BASE = "stripe", API_KEY, base
    with pytest.raises(AmountNotChargeable):
        authorize(key="k", order_number="A-1", amount_minor=5124, currency="KWD", payment_method="pm_card_visa")

    assert void(key="k", provider_key="v").state == "voided"
    assert Payment.objects.get(key="k").amount == "5.124 KWD"
    assert [row["status"] for row in books.intents.values()] == ["canceled"]


@pytest.mark.parametrize(
    ("amount_minor", "currency", "written"),
    [
        (5000, "UGX", "5000 UGX"), (500, "ISK", "500 ISK"), (5, "EUR", "0.05 EUR"), (-1250, "EUR", "-12.50 EUR"),
        (5124, "KWD", "5.124 KWD"), (5, "IQD", "0.005 IQD"), (12_345, "CLF", "1.2345 CLF"), (5, "UYW", "0.0005 UYW"),
        (700, "MGA", "7.00 MGA"), (0, "JPY", "0 JPY"), (1250, "XYZ", "1250 XYZ (minor units)"),
        (1250, "XAU", "1250 XAU (minor units)"), (0, "", "-"),
    ],
)  # fmt: skip
def test_formatted_money_has_the_decimals_of_its_currency(amount_minor: int, currency: str, written: str) -> None:
    assert format_money(amount_minor, currency) == written


def test_iso_4217_gives_each_code_one_number_of_decimals() -> None:
    by_decimals = {decimals: sorted(c for c in DECIMALS if DECIMALS[c] == decimals) for decimals in (0, 2, 3, 4)}

    assert sum(map(len, by_decimals.values())) == len(DECIMALS)
    assert len(by_decimals[0]) == 17
    assert len(by_decimals[3]) == 7
    assert by_decimals[4] == ["CLF", "UYW"]
