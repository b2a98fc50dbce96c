"""On-call work in a browser: an operator who did not write the checkout resolves its problems."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from orders.models import Order
from orders.seed import seed_shop
from payments.models import SandboxOperation
from sagas.models import SagaBulk
from sagas.testing import drain
from tests.admin import trips
from tests.admin.pages import operations_of
from tests.api.conftest import make_shopper
from tests.end_to_end.shops import describe_checkout

from .conftest import Visit
from .scenes import run

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


@dataclass
class Night:
    """Operator who was called, from the page after the log-in, with the number of clicks so far.

    A press of the mouse is a click; typing into the focused field is none.
    """

    page: Page
    clicks: int = 0

    def click(self, role: Any, name: str | re.Pattern[str], within: str = "#content-start") -> None:
        """Press a link or a button."""
        self.page.locator(within).get_by_role(role, name=name).first.click()
        self.clicks += 1

    def open_row(self, order: Order) -> None:
        """Open an order's saga in the list."""
        row = self.page.locator("#result_list tbody tr").filter(has_text=order.number)
        row.get_by_role("link").first.click()
        self.clicks += 1
        expect(self.page).to_have_title(re.compile(order.number))

    def explain(self) -> None:
        """Type why, after a click into the field unless it has the focus."""
        field = self.page.get_by_label("Reason")
        if not field.evaluate("field => field === document.activeElement"):
            field.click()
            self.clicks += 1
        self.page.keyboard.type(REASON)


def wake(visit: Visit, role: str, *, has_scripts: bool) -> Night:
    """Log in; the first page says how many sagas need attention."""
    return Night(visit(role, "/admin/", java_script_enabled=has_scripts).page)


def count_in_ledger(order: Order, kind: str) -> int:
    """Count the provider's entries."""
    return SandboxOperation.objects.filter(
        authorization__order_number=order.number, kind=kind, outcome="succeeded"
    ).count()


@pytest.mark.parametrize("has_scripts", [True, False])
def test_compensation_that_keeps_failing_is_repaired_in_four_clicks(visit: Visit, has_scripts: bool) -> None:
    order = place("pm_card_refund_fails", postal_code="00000")
    trips.make_held_unknown()
    night = wake(visit, "operator", has_scripts=has_scripts)
    page = night.page

    night.click("link", "2 sagas need attention")
    night.open_row(order)
    expect(page.get_by_role("region", name=STANDS)).to_contain_text("The compensation of authorize_payment")
    night.click("link", "Clear the failure")
    expect(page.get_by_label("Then retry authorize_payment now")).to_be_checked()
    night.explain()
    night.click("button", "Clear the failure")
    expect(page.get_by_role("status").filter(has_text="authorize_payment is due now")).to_be_visible()
    saga = drain(order.saga_id)
    page.reload()

    assert night.clicks <= 4
    expect(page.get_by_role("region", name=STANDS)).to_contain_text(re.compile("compensated", re.IGNORECASE))
    assert saga.state == "compensated"
    assert Order.objects.get(pk=order.pk).status == "cancelled"
    assert (count_in_ledger(order, "void"), count_in_ledger(order, "capture")) == (1, 0)
    assert [name for name, _, _ in operations_of(saga)] == [
        "remedy",
        "remedy",
        "retry",
    ]  # before it ran, and its answer


@pytest.mark.parametrize("has_scripts", [True, False])
def test_payment_unknown_at_the_pivot_is_settled_in_four_clicks(visit: Visit, has_scripts: bool) -> None:
    order = place("pm_card_capture_timeout")
    trips.make_paused()
    night = wake(visit, "supervisor", has_scripts=has_scripts)
    page = night.page

    night.click("link", "2 sagas need attention")
    expect(page.locator("#result_list tbody tr").first).to_contain_text(order.number)
    night.open_row(order)
    expect(page.get_by_role("region", name=STANDS)).to_contain_text("capture_payment")
    expect(page.get_by_role("link", name="Force compensate")).to_have_count(0)
    night.click("button", "Ask the provider")
    expect(page.get_by_role("region", name="Answer")).to_contain_text("captured")
    assert page.get_by_label("Evidence").input_value() != ""
    night.explain()
    night.click("button", "Mark succeeded")
    expect(page.get_by_role("status").filter(has_text="Done")).to_be_visible()
    saga = drain(order.saga_id)

    assert night.clicks <= 4
    assert saga.state == "completed"
    assert Order.objects.get(pk=order.pk).status == "confirmed"
    assert count_in_ledger(order, "capture") == 1
    assert [name for name, _, _ in operations_of(saga)] == ["remedy", "mark_succeeded"]


@pytest.mark.parametrize("has_scripts", [True, False])
def test_fifty_sagas_of_one_provider_are_retried_in_five_clicks(visit: Visit, has_scripts: bool) -> None:
    flood = [trips.make_waiting_for_retry() for _ in range(50)]
    other = [trips.make_held_unknown(), trips.make_paused(), trips.make_running()]
    night = wake(visit, "operator", has_scripts=has_scripts)
    page = night.page

    night.click("link", "All sagas")
    night.click("link", "Act on 50")
    night.click("button", re.compile("^Review 50 sagas|^Retry now"))
    night.explain()
    night.click("button", "Retry now: 50 sagas")
    run(SagaBulk.objects.get())
    if not has_scripts:
        page.reload()

    expect(page.locator("#content-main")).to_contain_text("50 of 50 sagas have a result.")
    assert night.clicks <= 5
    assert all(operations_of(saga) == [("retry", "operator", REASON)] for saga in flood)
    assert all(operations_of(saga) == [] for saga in other[:1])
