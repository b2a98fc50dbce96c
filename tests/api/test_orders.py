"""Orders as seen by their owners, other customers and staff."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission

from orders.models import Order, OrderStatus
from sagas.engine import advance
from sagas.exceptions import TransactionConflict
from sagas.models import Saga, SagaHistory, SagaStep
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.testing import SimulatedCrash, drain, faults

from .conftest import Shopper, assert_problem, make_checkout, make_shopper

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

OPERATOR = Actor(name="operator", is_trusted=True)


def place(shopper: Shopper, *, key: str = "key-1", **changes: object) -> str:
    """Place an order and return its address."""
    return str(shopper.checkout(make_checkout(**changes), key=key)["Location"])


def cancel_url(url: str) -> str:
    return f"{url}cancel/"


def test_order_of_another_customer_is_not_found(customer: Shopper, stranger: Shopper) -> None:
    url = place(customer)

    problem = assert_problem(stranger.get(url), 404, "not-found")

    nobody = url.replace(url[-13:-1], "000000000000")
    number, number_of_nobody = url.split("/")[-2], nobody.split("/")[-2]
    told = assert_problem(stranger.get(nobody), 404, "not-found")["detail"]
    assert problem["detail"] == told.replace(number_of_nobody, number)
    assert_problem(stranger.post(cancel_url(url)), 404, "not-found")
    assert Saga.objects.get().abort_request is None


def test_staff_see_any_order(customer: Shopper) -> None:
    url = place(customer)

    response = make_shopper("clerk", is_staff=True).get(url)

    assert response.json() == customer.get(url).json()


@pytest.mark.parametrize("path", ["", "cancel/"])
def test_orders_need_credentials(customer: Shopper, path: str) -> None:
    url = place(customer)

    response = Shopper().post(url + path) if path else Shopper().get(url)

    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"] == "Token"


def test_list_shows_own_orders_newest_first_page_by_page(customer: Shopper, stranger: Shopper) -> None:
    numbers = [place(customer, key=f"key-{index}").split("/")[-2] for index in range(5)]
    place(stranger)

    first = customer.get("/api/v1/orders/?page_size=2").json()
    second = customer.get(first["next"]).json()
    third = customer.get(second["next"]).json()
    back = customer.get(third["previous"]).json()

    shown = [[order["number"] for order in page["results"]] for page in (first, second, third, back)]
    assert shown == [numbers[4:2:-1], numbers[2:0:-1], numbers[:1], numbers[2:0:-1]]
    assert (first["previous"], third["next"]) == (None, None)
    assert first["next"].startswith("/api/v1/orders/?")
    assert first["results"][0] == customer.get(f"/api/v1/orders/{numbers[4]}/").json()


def test_cursor_of_another_user_shows_own_orders_only(customer: Shopper, stranger: Shopper) -> None:
    for index in range(3):
        place(customer, key=f"key-{index}")
    cursor = customer.get("/api/v1/orders/?page_size=1").json()["next"]

    assert stranger.get(cursor).json()["results"] == []


def test_list_needs_a_constant_number_of_queries(customer: Shopper, django_assert_num_queries: object) -> None:
    for index in range(4):
        place(customer, key=f"key-{index}")

    with django_assert_num_queries(4):  # the token, the orders, their lines, their sagas' steps
        assert len(customer.get("/api/v1/orders/").json()["results"]) == 4


def test_unchanged_order_is_answered_with_304(customer: Shopper) -> None:
    url = place(customer)
    first = customer.get(url)
    tag = first["ETag"]

    for seen in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = customer.get(url, **{"If-None-Match": seen})
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
    for unseen in ('"other"', tag.strip('"'), "", ","):
        assert customer.get(url, **{"If-None-Match": unseen}).status_code == 200
    assert first["Cache-Control"] == "private, no-cache"


def test_changed_order_has_another_tag(customer: Shopper) -> None:
    url = place(customer)
    before = customer.get(url)["ETag"]
    drain(Saga.objects.get())

    after = customer.get(url, **{"If-None-Match": before})

    assert after.status_code == 200
    assert after["ETag"] != before
    assert customer.get(url)["ETag"] == after["ETag"]


def test_cancelled_in_time_ends_cancelled(customer: Shopper) -> None:
    url = place(customer)

    response = customer.post(cancel_url(url))

    assert (response.status_code, response["Location"]) == (202, url)
    assert response.json()["number"] == url.split("/")[-2]
    drain(Saga.objects.get())
    body = customer.get(url).json()
    assert (body["status"], body["reason"]) == ("cancelled", "cancelled_by_customer")
    assert SagaHistory.objects.filter(what="abort_requested", actor="customer").count() == 1


def test_order_is_not_cancelled_before_it_is_compensated(customer: Shopper) -> None:
    url = place(customer)

    body = customer.post(cancel_url(url)).json()

    assert Order.objects.get().status == OrderStatus.PENDING
    assert body["status"] == "processing"


def test_second_cancel_request_has_no_effect(customer: Shopper) -> None:
    url = place(customer)

    statuses = [customer.post(cancel_url(url)).status_code for _ in range(2)]
    drain(Saga.objects.get())
    statuses.append(customer.post(cancel_url(url)).status_code)

    assert statuses == [202, 202, 202]
    assert SagaHistory.objects.filter(what="abort_requested").count() == 1


def test_cancel_during_compensation_changes_nothing(customer: Shopper) -> None:
    address = make_checkout()["shipping_address"] | {"postal_code": "00000"}
    url = place(customer, payment_method="pm_card_refund_fails", shipping_address=address)
    drain(Saga.objects.get())

    response = customer.post(cancel_url(url))

    assert response.status_code == 202
    assert response.json()["reason"] == "address_not_served"
    assert Saga.objects.get().abort_request is None


def test_cancel_after_confirmation_is_too_late(customer: Shopper) -> None:
    url = place(customer)
    drain(Saga.objects.get())

    assert_problem(customer.post(cancel_url(url)), 409, "too-late")

    assert Order.objects.get().status == OrderStatus.CONFIRMED


def test_conflicting_cancel_is_asked_to_be_repeated(customer: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    url = place(customer)

    def conflict(*_args: object, **_facts: object) -> None:
        raise TransactionConflict("Changed meanwhile.")

    monkeypatch.setattr(operations, "cancel", conflict)
    assert_problem(customer.post(cancel_url(url)), 503, "database-unavailable")


def test_cancel_after_the_capture_is_too_late(customer: Shopper) -> None:
    url = place(customer)
    with faults() as fault:
        fault.crash_before("ship_stock")
        with pytest.raises(SimulatedCrash):
            advance.advance(Saga.objects.get().pk)

    assert_problem(customer.post(cancel_url(url)), 409, "too-late")

    assert customer.get(url).json()["status"] == "processing"


def test_cancel_while_the_capture_is_unknown_stays_pending(customer: Shopper) -> None:
    url = place(customer, payment_method="pm_card_capture_timeout")
    drain(Saga.objects.get())

    response = customer.post(cancel_url(url))

    assert (response.status_code, response.json()["status"]) == (202, "needs_review")
    assert Saga.objects.get().abort_request == "cancel"


def test_cancel_accepts_no_fields(customer: Shopper) -> None:
    url = place(customer)

    assert_problem(customer.post(cancel_url(url), {"refund": 1}), 422, "invalid-input")
    assert_problem(customer.post(cancel_url(url), b"now", content_type="text/plain"), 415, "unsupported-media-type")
    assert Saga.objects.get().abort_request is None


def test_staff_need_the_permission_to_cancel(customer: Shopper) -> None:
    url = place(customer)
    clerk = make_shopper("clerk", is_staff=True)

    assert_problem(clerk.post(cancel_url(url)), 403, "permission-denied")
    assert Saga.objects.get().abort_request is None
    clerk.user.user_permissions.add(Permission.objects.get(codename="cancel_saga"))
    assert clerk.post(cancel_url(url)).status_code == 202

    drain(Saga.objects.get())
    assert customer.get(url).json()["reason"] == "cancelled_by_shop"


def test_force_compensated_order_counts_as_cancelled_by_the_shop(customer: Shopper) -> None:
    url = place(customer)
    operations.force_compensate(Saga.objects.get().pk, actor=OPERATOR, reason="Suspected fraud.")
    drain(Saga.objects.get())

    body = customer.get(url).json()

    assert (body["status"], body["reason"]) == ("cancelled", "cancelled_by_shop")


def test_paused_and_abandoned_orders_need_review(customer: Shopper) -> None:
    url = place(customer)
    saga_id = Saga.objects.get().pk

    operations.pause(saga_id, actor=OPERATOR, reason="Waiting for the bank.")
    assert customer.get(url).json()["status"] == "needs_review"
    operations.resume(saga_id, actor=OPERATOR, reason="The bank has answered.")
    assert customer.get(url).json()["status"] == "processing"
    operations.abandon(saga_id, actor=OPERATOR, reason="Nobody can help here.")
    body = customer.get(url).json()

    assert (body["status"], body["reason"], body["saga"]["state"]) == ("needs_review", "under_review", "abandoned")
    assert_problem(customer.post(cancel_url(url)), 409, "too-late")


def test_deadline_cancels_for_a_plain_reason(customer: Shopper) -> None:
    url = place(customer)
    saga = Saga.objects.get()
    Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at)
    drain(saga)

    body = customer.get(url).json()

    assert (body["status"], body["reason"]) == ("cancelled", "took_too_long")


def test_order_outlives_its_saga(customer: Shopper) -> None:
    url = place(customer)
    drain(Saga.objects.get())
    Order.objects.update(saga_id=uuid4())  # as if retention had deleted the saga

    body = customer.get(url).json()

    assert (body["status"], body["reason"], body["saga"]) == ("confirmed", None, None)
    assert_problem(customer.post(cancel_url(url)), 409, "too-late")


def test_attempts_of_both_directions_are_shown(customer: Shopper) -> None:
    url = place(customer, payment_method="pm_card_timeout")
    drain(Saga.objects.get())

    shown = {step["name"]: step["attempts"] for step in customer.get(url).json()["saga"]["steps"]}

    stored = SagaStep.objects.get(name="authorize_payment")
    assert stored.compensation_attempts == 1
    assert shown["authorize_payment"] == stored.action_attempts + 1
    assert shown["reserve_stock"] == 2
    assert shown["capture_payment"] == 0
