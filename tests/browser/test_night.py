"""On-call work in a browser: an operator who did not write the checkout resolves its problems."""

import re

import pytest
from playwright.sync_api import Page, expect

from orders.models import Order
from orders.seed import seed_shop
from payments.models import SandboxOperation
from sagas.testing import drain
from tests.admin.pages import operations_of
from tests.api.conftest import make_shopper
from tests.end_to_end.shops import describe_checkout

from .conftest import Visit, Visitor

REASON = "Looked it up, see ticket 4711."
STANDS = "State of the saga"


def place(payment_method: str, **details: str) -> Order:
    """Place a checkout over REST, and run it as far as possible."""
    seed_shop()
    answer = make_shopper("ada").checkout(describe_checkout(payment_method, sku="TEA-EARL-GREY", **details))
    assert answer.status_code == 202, answer.content
    order = Order.objects.get(number=answer.json()["number"])
    drain(order.saga_id)
    return order


def find_it(visitor: Visitor, order: Order) -> None:
    """Log in, and open the saga from the list of those that need attention."""
    visitor.log_in("operator")
    visitor.page.get_by_role("link", name=re.compile("^Needs attention")).first.click()
    row = visitor.page.locator("#result_list tbody tr").filter(has_text=order.number)
    row.get_by_role("link").first.click()
    expect(visitor.page).to_have_title(re.compile(order.number))


def act_on_row(page: Page, action: str, row_text: str) -> None:
    """Select a row of a list and run an action on it."""
    page.get_by_role("row").filter(has_text=row_text).get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option(label=action)
    page.get_by_role("button", name=re.compile("^(Go|Run)")).click()


def retry_now(page: Page) -> None:
    """Retry on the saga's page."""
    page.get_by_role("link", name="Retry now").click()
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_role("status").filter(has_text="due now")).to_be_visible()


def count_in_ledger(order: Order, kind: str) -> int:
    """Count the provider's entries."""
    return SandboxOperation.objects.filter(
        authorization__order_number=order.number, kind=kind, outcome="succeeded"
    ).count()


@pytest.mark.parametrize("has_scripts", [True, False])
def test_payment_whose_outcome_is_unknown_at_the_pivot(visit: Visit, has_scripts: bool) -> None:
    order = place("pm_card_capture_timeout")
    visitor = visit(java_script_enabled=has_scripts)
    page = visitor.page

    find_it(visitor, order)
    expect(page.get_by_role("region", name=STANDS)).to_contain_text("capture_payment")
    expect(page.get_by_role("region", name=STANDS)).to_contain_text("unknown")
    expect(page.get_by_role("link", name="Force compensate")).to_have_count(0)
    saga_page = page.url
    page.get_by_role("link", name=f"Payment {order.number}").click()
    act_on_row(page, "Look up at the provider", order.number)
    expect(page.locator(".messagelist")).to_contain_text("the payment is captured. Retry the waiting step")
    page.goto(saga_page)
    retry_now(page)
    saga = drain(order.saga_id)
    page.reload()

    expect(page.get_by_role("region", name=STANDS)).to_contain_text(re.compile("completed", re.IGNORECASE))
    assert saga.state == "completed"
    assert Order.objects.get(pk=order.pk).status == "confirmed"
    assert count_in_ledger(order, "capture") == 1
    assert operations_of(saga) == [("retry", "operator", REASON)]


@pytest.mark.parametrize("has_scripts", [True, False])
def test_compensation_that_keeps_failing(visit: Visit, has_scripts: bool) -> None:
    order = place("pm_card_refund_fails", postal_code="00000")
    visitor = visit(java_script_enabled=has_scripts)
    page = visitor.page

    find_it(visitor, order)
    expect(page.get_by_role("region", name=STANDS)).to_contain_text("authorize_payment")
    saga_page = page.url
    visitor.open(f"/admin/payments/sandboxauthorization/?q={order.number}")
    act_on_row(page, "Clear failure", order.number)
    expect(page.locator(".messagelist")).to_contain_text("Cleared 1 failing authorisations")
    page.goto(saga_page)
    retry_now(page)
    saga = drain(order.saga_id)
    page.reload()

    expect(page.get_by_role("region", name=STANDS)).to_contain_text(re.compile("compensated", re.IGNORECASE))
    assert saga.state == "compensated"
    assert Order.objects.get(pk=order.pk).status == "cancelled"
    assert (count_in_ledger(order, "void"), count_in_ledger(order, "capture")) == (1, 0)
    assert operations_of(saga) == [("retry", "operator", REASON)]
