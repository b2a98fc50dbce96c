import socket

import pytest

from payments.exceptions import (
    GatewayAnswerLost,
    GatewayError,
    GatewayKeyClosed,
    GatewayMisconfigured,
    GatewayUnavailable,
)
from payments.gateways import get_gateway
from payments.gateways.base import Approved, Authorization
from payments.gateways.stripe import StripeGateway
from payments.models import Payment
from payments.services import capture, void

from .gateway_contract import GatewayContract, hold, make_authorization
from .money import CAPTURE_KEY, KEY, VOID_KEY, authorize_with
from .stripe_fake import API_KEY, FakeStripe, Refusal


@pytest.fixture
def gateway(served: tuple[FakeStripe, str]) -> StripeGateway:
    return StripeGateway(api_key=API_KEY, api_base=served[1])


class TestStripeContract(GatewayContract):
    """Contract tests of the adapter, on a provider that honours idempotency keys."""


def test_request_has_everything_that_stripe_needs(gateway: StripeGateway, stripe_books: FakeStripe) -> None:
    authorization = hold(gateway, make_authorization())

    intent = stripe_books.intents[authorization.reference]
    assert (intent["amount"], intent["currency"], intent["status"]) == (1250, "eur", "requires_capture")
    assert intent["metadata"] == {"order_number": "A-1", "authorize_key": authorization.key}


def test_lost_answer_is_not_retried_automatically(gateway: StripeGateway, stripe_books: FakeStripe) -> None:
    stripe_books.answers_to_lose = 1
    authorization = make_authorization()
    with pytest.raises(GatewayAnswerLost):
        gateway.authorize(authorization)
    assert stripe_books.requests == ["POST /v1/payment_intents"]

    assert gateway.authorize(authorization) == Approved(reference="pi_1")
    assert len(stripe_books.intents) == 1


def test_void_of_a_lost_authorization_leaves_nothing_held(gateway: StripeGateway, stripe_books: FakeStripe) -> None:
    stripe_books.answers_to_lose = 1
    authorization = make_authorization()
    with pytest.raises(GatewayAnswerLost):
        gateway.authorize(authorization)

    gateway.void(key="void", authorization=authorization)
    assert [intent["status"] for intent in stripe_books.intents.values()] == ["canceled"]


def test_void_of_an_authorization_unknown_here_finds_and_cancels_it(
    gateway: StripeGateway, stripe_books: FakeStripe
) -> None:
    authorization = hold(gateway, make_authorization())

    gateway.void(key="void", authorization=Authorization(key=authorization.key))
    assert [intent["status"] for intent in stripe_books.intents.values()] == ["canceled"]


def test_closing_an_unknown_key_holds_nothing(gateway: StripeGateway, stripe_books: FakeStripe) -> None:
    late = make_authorization()
    gateway.void(key="void", authorization=Authorization(key=late.key))

    with pytest.raises(GatewayKeyClosed):
        gateway.authorize(late)
    assert [intent["status"] for intent in stripe_books.intents.values()] == ["canceled"]


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (Refusal(403, "invalid_request_error"), GatewayMisconfigured),
        (Refusal(400, "invalid_request_error", "parameter_unknown", "colour"), GatewayMisconfigured),
        (Refusal(429, "rate_limit_error", "rate_limit"), GatewayUnavailable),
        (Refusal(409, "idempotency_error", "idempotency_key_in_use"), GatewayAnswerLost),
        (Refusal(500, "api_error"), GatewayAnswerLost),
        (Refusal(503, "api_error"), GatewayAnswerLost),
    ],
)
def test_refusals_are_distinguished(
    gateway: StripeGateway, stripe_books: FakeStripe, refusal: Refusal, expected: type[GatewayError]
) -> None:
    stripe_books.refuse_with = refusal
    authorization = make_authorization()
    with pytest.raises(expected) as caught:
        gateway.authorize(authorization)

    assert caught.value.key == authorization.key
    assert stripe_books.intents == {}


def test_wrong_key_is_misconfigured(served: tuple[FakeStripe, str]) -> None:
    books, base = served
    with pytest.raises(GatewayMisconfigured, match="STRIPE_API_KEY"):
        StripeGateway(api_key="sk_test_wrong", api_base=base).authorize(make_authorization())
    assert books.intents == {}


def test_missing_key_is_misconfigured(settings) -> None:
    settings.PAYMENT_GATEWAY = "stripe"
    settings.STRIPE_API_KEY = ""
    with pytest.raises(GatewayMisconfigured, match="STRIPE_API_KEY is empty"):
        get_gateway()


def test_refused_connection_has_no_effect() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(GatewayUnavailable):
            StripeGateway(api_key=API_KEY, api_base=base).authorize(make_authorization())


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_services_work_on_stripe(served: tuple[FakeStripe, str], settings) -> None:
    books, base = served
    settings.PAYMENT_GATEWAY, settings.STRIPE_API_KEY, settings.STRIPE_API_BASE = "stripe", API_KEY, base

    books.answers_to_lose = 1
    with pytest.raises(GatewayAnswerLost):
        authorize_with()
    assert authorize_with().authorization_reference == "pi_1"
    assert capture(key=KEY, provider_key=CAPTURE_KEY).state == "captured"
    assert books.intents["pi_1"]["status"] == "succeeded"

    authorize_with(key="other")
    assert void(key="other", provider_key=VOID_KEY).state == "voided"
    assert books.intents["pi_2"]["status"] == "canceled"
    assert Payment.objects.count() == 2
