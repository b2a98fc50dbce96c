"""Remedies over HTTP, by the functions of the console: the shop's own, on checkouts that are stuck."""

from collections.abc import Callable

import pytest

from orders.models import Order
from payments.models import SandboxAuthorization
from sagas.models import Saga
from sagas.operators.audit.operator_log import REMEDY
from sagas.operators.preconditions import Operation
from sagas.testing import drain
from tests.admin.pages import REASON, operations_of, stored

from .conftest import ADDRESS, Enter, Shopper, assert_problem, list_pointers, make_checkout
from .operating import SAGAS, body_of, url_of

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

Stuck = Callable[..., Saga]


@pytest.fixture
def stick(customer: Shopper) -> Stuck:
    """Return a function that places an order with a card, and advances its saga until that is stuck."""

    def place(card: str, **address: str) -> Saga:
        placed = customer.checkout(make_checkout(payment_method=card, shipping_address={**ADDRESS, **address}))
        assert placed.status_code == 202, placed.content
        return drain(Saga.objects.get(pk=Order.objects.get(number=placed.json()["number"]).saga_id))

    return place


def remedies_of(saga: Saga) -> str:
    return f"{SAGAS}{saga.pk}/remedies/"


def test_capture_without_an_answer_is_asked_for_and_marked(stick: Stuck, enter: Enter) -> None:
    saga, boss = stick("pm_card_capture_timeout"), enter("supervisor")
    listed = boss.get(remedies_of(saga)).json()["results"]
    assert listed == [{
        "name": "ask_provider", "label": "Ask the provider", "kind": "look_up", "changes": "",
        "step": "capture_payment", "direction": "action",
    }]  # fmt: skip

    answer = boss.post(remedies_of(saga), {"name": "ask_provider"}).json()

    assert (answer["suggestion"], answer["step"]) == ("mark_succeeded", "capture_payment")
    assert answer["facts"]["Payment"] == "captured"
    body = body_of(saga, Operation.MARK_SUCCEEDED, answer["step"], evidence=answer["evidence"], result=answer["result"])
    assert boss.post(url_of(saga, Operation.MARK_SUCCEEDED), body).status_code == 200
    assert drain(saga).state == "completed"
    assert [what for what, _, _ in operations_of(saga)] == [REMEDY, "mark_succeeded"]


def test_void_that_keeps_failing_is_repaired_and_retried(stick: Stuck, enter: Enter) -> None:
    saga, operator = stick("pm_card_refund_fails", postal_code="00000"), enter("operator")
    listed = operator.get(remedies_of(saga)).json()["results"]
    assert [found["name"] for found in listed] == ["ask_provider", "clear_failure"]
    revision = Saga.objects.get(pk=saga.pk).revision

    body = {"name": "clear_failure", "reason": REASON, "revision": revision, "retries": True}
    answer = operator.post(remedies_of(saga), body).json()

    assert answer["retried"]["message"] == "authorize_payment is due now, with a fresh budget."
    assert (answer["suggestion"], answer["is_repeat"]) == (None, False)
    assert SandboxAuthorization.objects.get().is_failing is False
    assert operator.post(remedies_of(saga), body).json()["is_repeat"] is True
    assert drain(saga).state == "compensated"
    assert operator.get(remedies_of(saga)).json() == {"results": []}


def test_refusals_are_problems_and_change_nothing(stick: Stuck, enter: Enter) -> None:
    saga, operator = stick("pm_card_refund_fails", postal_code="00000"), enter("operator")
    before, url = stored(saga), remedies_of(saga)

    assert_problem(operator.post(url, {"name": "no_such"}), 422, "invalid-input")
    assert_problem(operator.post(url, {"name": "clear_failure"}), 422, "invalid-input")
    stale = {"name": "clear_failure", "reason": REASON, "revision": 1}
    assert_problem(operator.post(url, stale), 409, "stale-revision")
    assert list_pointers(assert_problem(operator.post(url, {"nam": 1}), 422, "invalid-input")) >= {"/name"}
    for name in ("viewer", "stranger"):
        assert_problem(enter(name).post(url, {"name": "ask_provider"}), 403, "permission-denied")
        assert_problem(enter(f"{name}-2").get(url), 403, "permission-denied")
    assert stored(saga) == before


def test_failed_remedy_is_a_bad_gateway(stick: Stuck, enter: Enter) -> None:
    saga, operator = stick("pm_card_refund_fails", postal_code="00000"), enter("operator")
    SandboxAuthorization.objects.all().update(key="lost")
    body = {"name": "clear_failure", "reason": REASON}
    problem = assert_problem(operator.post(remedies_of(saga), body), 502, "remedy-failed")
    assert "GatewayConflict: The sandbox ledger has no authorisation" in problem["detail"]
