"""Contract of every gateway. Test modules inherit it and define a ``gateway`` fixture."""

from uuid import uuid4

import pytest

from payments.exceptions import GatewayConflict, GatewayKeyClosed
from payments.gateways.base import Approved, Authorization, Declined, Gateway


def make_authorization(payment_method: str = "pm_card_visa") -> Authorization:
    return Authorization(
        key=f"{uuid4()}:authorize_payment",
        order_number="A-1",
        amount_minor=1250,
        currency="EUR",
        payment_method=payment_method,
    )


def hold(gateway: Gateway, authorization: Authorization) -> Authorization:
    """Authorise, and return the authorisation with its reference."""
    answer = gateway.authorize(authorization)
    assert isinstance(answer, Approved)
    return Authorization(**{**vars(authorization), "reference": answer.reference})


class GatewayContract:
    """Tests of everything that the services rely on."""

    def test_authorize_repeated_gets_the_first_answer(self, gateway: Gateway) -> None:
        authorization = make_authorization()
        first = gateway.authorize(authorization)

        assert isinstance(first, Approved)
        assert first.reference != ""
        assert gateway.authorize(authorization) == first

    @pytest.mark.parametrize(
        ("payment_method", "code"), [("pm_card_declined", "card_declined"), ("pm_none", "unknown_payment_method")]
    )
    def test_decline_repeated_is_the_same_decline(self, gateway: Gateway, payment_method: str, code: str) -> None:
        authorization = make_authorization(payment_method)

        assert gateway.authorize(authorization) == Declined(code=code)
        assert gateway.authorize(authorization) == Declined(code=code)

    def test_capture_repeated_gets_the_first_answer(self, gateway: Gateway) -> None:
        authorization = hold(gateway, make_authorization())
        key = f"{authorization.key}:capture"
        first = gateway.capture(key=key, authorization=authorization)

        assert isinstance(first, Approved)
        assert gateway.capture(key=key, authorization=authorization) == first

    def test_second_capture_under_another_key_is_refused(self, gateway: Gateway) -> None:
        authorization = hold(gateway, make_authorization())
        gateway.capture(key=f"{authorization.key}:capture", authorization=authorization)

        with pytest.raises(GatewayConflict):
            gateway.capture(key=f"{authorization.key}:again", authorization=authorization)

    def test_capture_of_an_unknown_authorization_is_refused(self, gateway: Gateway) -> None:
        with pytest.raises(GatewayConflict):
            gateway.capture(key=str(uuid4()), authorization=make_authorization())

    def test_void_repeated_is_harmless(self, gateway: Gateway) -> None:
        authorization = hold(gateway, make_authorization())
        first = gateway.void(key=f"{authorization.key}:void", authorization=authorization)

        assert isinstance(first, Approved)
        assert gateway.void(key=f"{authorization.key}:void", authorization=authorization) == first
        assert isinstance(gateway.void(key=f"{authorization.key}:void:1", authorization=authorization), Approved)

    def test_void_after_capture_is_refused(self, gateway: Gateway) -> None:
        authorization = hold(gateway, make_authorization())
        gateway.capture(key=f"{authorization.key}:capture", authorization=authorization)

        with pytest.raises(GatewayConflict):
            gateway.void(key=f"{authorization.key}:void", authorization=authorization)

    def test_capture_after_void_is_refused(self, gateway: Gateway) -> None:
        authorization = hold(gateway, make_authorization())
        gateway.void(key=f"{authorization.key}:void", authorization=authorization)

        with pytest.raises(GatewayConflict):
            gateway.capture(key=f"{authorization.key}:capture", authorization=authorization)

    def test_void_of_an_unanswered_authorization_releases_the_money(self, gateway: Gateway) -> None:
        asked = make_authorization()
        held = hold(gateway, asked)
        gateway.void(key=f"{asked.key}:void", authorization=asked)

        with pytest.raises(GatewayConflict):
            gateway.capture(key=f"{asked.key}:capture", authorization=held)

    def test_void_of_an_unknown_key_closes_it(self, gateway: Gateway) -> None:
        late = make_authorization()
        tombstone = Authorization(key=late.key)
        first = gateway.void(key=f"{late.key}:void", authorization=tombstone)

        assert isinstance(first, Approved)
        assert gateway.void(key=f"{late.key}:void", authorization=tombstone) == first
        with pytest.raises(GatewayKeyClosed):
            gateway.authorize(late)

    def test_refund_is_limited_to_the_captured_amount(self, gateway: Gateway) -> None:
        authorization = hold(gateway, make_authorization())
        gateway.capture(key=f"{authorization.key}:capture", authorization=authorization)
        key = f"{authorization.key}:refund"
        first = gateway.refund(key=key, authorization=authorization, amount_minor=1000)

        assert isinstance(first, Approved)
        assert gateway.refund(key=key, authorization=authorization, amount_minor=1000) == first
        with pytest.raises(GatewayConflict):
            gateway.refund(key=f"{key}:again", authorization=authorization, amount_minor=251)
        assert isinstance(gateway.refund(key=f"{key}:rest", authorization=authorization, amount_minor=250), Approved)

    def test_refund_before_capture_is_refused(self, gateway: Gateway) -> None:
        authorization = hold(gateway, make_authorization())

        with pytest.raises(GatewayConflict):
            gateway.refund(key=f"{authorization.key}:refund", authorization=authorization, amount_minor=1)

    def test_find_returns_the_outcome_of_a_request(self, gateway: Gateway) -> None:
        authorization = hold(gateway, make_authorization())
        key = f"{authorization.key}:capture"

        approved = Approved(reference=authorization.reference)
        assert gateway.find(key=authorization.key, authorization=authorization) == approved
        assert gateway.find(key=key, authorization=authorization) is None
        captured = gateway.capture(key=key, authorization=authorization)
        assert gateway.find(key=key, authorization=authorization) == captured
