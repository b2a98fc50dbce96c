"""Console in a real browser, with and without JavaScript, under a strict policy."""

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from orders.models import Order
from sagas.admin.ui.page_selection import ORCHESTRATION_TABS
from sagas.models import SagaAttempt, SagaStep
from sagas.operators import operations
from sagas.testing import drain
from tests.admin import trips
from tests.admin.pages import operations_of

from .conftest import Visit
from .inspection import keep_picture
from .scenes import REASON


@pytest.mark.parametrize("has_scripts", [True, False])
def test_users_log_in_by_the_form(visit: Visit, users: dict[str, User], has_scripts: bool) -> None:
    users["operator"].set_password("only for tests")
    users["operator"].save()
    visitor = visit(java_script_enabled=has_scripts)
    page = visitor.page
    visitor.open("/admin/sagas/saga/")

    page.get_by_label("Username").fill("operator")
    page.get_by_label("Password").fill("only for tests")
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_role("searchbox", name="Find")).to_be_visible()


@pytest.mark.parametrize("has_scripts", [True, False])
def test_operator_finds_a_saga_by_its_order_and_retries_it(visit: Visit, has_scripts: bool) -> None:
    trips.make_completed()
    saga = trips.make_compensation_failing()
    number = saga.keys.get(name="order").value
    visitor = visit("operator", java_script_enabled=has_scripts)
    page = visitor.page

    visitor.find(number)
    expect(page).to_have_title(re.compile(number))
    expect(page.get_by_role("region", name="State of the saga")).to_contain_text("compensation failing")
    expect(page.get_by_role("link", name="Force compensate")).to_have_count(0)

    page.get_by_role("link", name="Retry now").click()
    expect(page.get_by_role("table", name="What runs next")).to_contain_text("book_flight")
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_role("alert")).to_contain_text("Not done")
    assert operations_of(saga) == []
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Retry now").click()

    expect(
        page.get_by_role("status").filter(has_text="Done: book_flight is due now, with a fresh budget.")
    ).to_be_visible()
    assert operations_of(saga) == [("retry", "operator", REASON)]
    drain(saga)
    page.reload()
    expect(page.get_by_role("region", name="State of the saga")).to_contain_text("compensated")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("table", name="What happened")).to_contain_text(REASON)


@pytest.mark.parametrize("has_scripts", [True, False])
def test_supervisor_forces_compensation(visit: Visit, has_scripts: bool) -> None:
    saga = trips.make_unknown()
    visitor = visit("supervisor", java_script_enabled=has_scripts)
    page = visitor.page

    visitor.find(saga.keys.get(name="order").value)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Force compensate").click()
    plan = page.get_by_role("table", name="What runs next").get_by_role("row")
    expect(plan).to_have_count(3)
    expect(plan.nth(1)).to_contain_text("book_flight")
    expect(plan.nth(2)).to_contain_text("book_hotel")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Force compensate").click()

    expect(page.get_by_role("status").filter(has_text="Done: The saga compensates.")).to_be_visible()
    assert operations_of(saga) == [("compensate", "supervisor", REASON)]
    assert drain(saga).state == "compensated"


def test_keyboard_is_enough(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    page = visit("operator", f"/admin/sagas/saga/{saga.pk}/act/retry/").page

    page.get_by_label("Reason").focus()
    page.keyboard.type(REASON)
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Retry now")
    expect(button).to_be_focused()
    assert button.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Enter")

    expect(page.get_by_role("status").filter(has_text="Done: ")).to_be_visible()
    assert len(operations_of(saga)) == 1


def test_double_click_acts_once(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    visitor = visit("operator", f"/admin/sagas/saga/{saga.pk}/act/retry/")

    visitor.page.get_by_label("Reason").fill(REASON)
    visitor.page.get_by_role("button", name="Retry now").dblclick()

    expect(visitor.page.get_by_role("region", name="State of the saga")).to_be_visible()
    assert len(operations_of(saga)) == 1


@pytest.mark.parametrize("has_scripts", [True, False])
def test_operation_of_a_faster_colleague_is_shown(visit: Visit, has_scripts: bool) -> None:
    saga = trips.make_waiting_for_retry()
    page = visit("operator", f"/admin/sagas/saga/{saga.pk}/act/retry/", java_script_enabled=has_scripts).page
    operations.pause(saga.pk, actor=trips.BOSS, reason="A colleague was faster.")

    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Retry now").click()

    expect(page.get_by_role("alert")).to_contain_text("the saga has changed since you opened this page")
    expect(page.get_by_role("table", name="History since")).to_contain_text("A colleague was faster.")
    expect(page.get_by_label("Reason")).to_have_value(REASON)
    assert [operation[0] for operation in operations_of(saga)] == ["pause"]


def test_viewer_is_offered_no_operation_and_may_do_none(visit: Visit) -> None:
    saga = trips.make_waiting_for_retry()
    visitor = visit("viewer")

    visitor.find(saga.keys.get(name="order").value)
    expect(visitor.page.get_by_text("No operation is possible now.")).to_be_visible()
    visitor.open(f"/admin/sagas/saga/{saga.pk}/act/retry/")

    expect(visitor.page.get_by_role("alert")).to_contain_text("lacks the permission sagas.retry_saga")
    expect(visitor.page.get_by_role("button", name="Retry now")).to_have_count(0)


def test_hostile_text_stays_text(visit: Visit) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    saga = trips.make_refused("book_hotel", trips.RetryLater(hostile, after=3000), order=hostile)
    visitor = visit("admin")

    views = [f"{saga.pk}/change/?tab={tab}" for tab in ORCHESTRATION_TABS]
    for path in ("", *views, f"{saga.pk}/act/retry/"):
        visitor.open(f"/admin/sagas/saga/{path}")
        expect(visitor.page.get_by_text("<script>alert(2)</script>").first).to_be_visible()
        assert visitor.page.locator("img[src=x]").count() == 0


OUT_OF_STOCK = (
    "inventory.exceptions.OutOfStock: Not enough in stock: COFFEE-MUG-BLUE-LARGE asked 12, available 3; and more."
)


@pytest.mark.parametrize("width", [1280, 1360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_list_fits_a_laptop_with_its_errors_on_one_line(visit: Visit, scheme: str, width: int) -> None:
    for maker in trips.MAKERS.values():
        saga = maker()
        number = f"ORD-2026-{saga.pk.hex[:10].upper()}"
        saga.keys.filter(name="order").update(value=number)
    SagaStep.objects.exclude(last_error="").update(last_error=OUT_OF_STOCK)
    page = visit("admin", color_scheme=scheme, viewport={"width": width, "height": 800}).page

    keep_picture(page, f"laptop-{scheme}-{width}")
    found = page.locator(".results").evaluate("box => [box.clientWidth, box.scrollWidth]")
    assert found[0] == found[1]
    errors = page.locator(".saga-error summary").filter(has_text="OutOfStock")
    assert errors.count() > 3
    lines = errors.evaluate_all("all => all.map(one => one.getClientRects().length && one.clientHeight < 30)")
    assert set(lines) == {True}
    cut = "all => all.map(one => one.scrollWidth > one.clientWidth)"
    assert set(errors.evaluate_all(cut)) == {True}
    errors.first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".saga-error[open]")).to_have_count(1)
    expect(page.locator(".saga-error[open]")).to_have_text(OUT_OF_STOCK.rpartition("exceptions.")[2])
    assert page.locator(".saga-error[open] summary").evaluate_all(cut) == [False]


def test_order_list_fits_a_laptop(visit: Visit) -> None:
    visitor = visit(viewport={"width": 1280, "height": 800})
    for number in range(3):
        Order.objects.create(
            number=f"ORD-0000WWWWWWW{number}",
            owner=User.objects.get(username="supervisor"),
            status="cancelled",
            reason="payment_method_not_chargeable",
            closed_at=trips.start().created_at,
            total_minor=123_456_789,
            currency="EUR",
            payment_method="pm_card",
            ship_to_country="DE",
            saga_id=trips.start().pk,
        )

    visitor.log_in("admin")
    visitor.open("/admin/orders/order/")

    keep_picture(visitor.page, "orders-1280")
    found = visitor.page.locator(".results").evaluate("box => [box.clientWidth, box.scrollWidth]")
    assert found[0] == found[1]


def test_page_of_many_failures_stays_short(visit: Visit) -> None:
    saga = trips.make_compensation_failing()
    SagaAttempt.objects.filter(saga=saga).update(worker="vm:871/8")
    visitor = visit(
        "admin", f"/admin/sagas/saga/{saga.pk}/change/?tab=timeline", viewport={"width": 1360, "height": 900}
    )

    keep_picture(visitor.page, "failing-1360")
    heights = visitor.page.locator(".saga-worker").evaluate_all(
        "all => all.map(one => one.firstChild ? (() => {"
        "const range = document.createRange(); range.selectNodeContents(one); return range.getClientRects().length;"
        "})() : 1)"
    )
    assert set(heights) == {1}
    assert visitor.page.evaluate("document.documentElement.scrollHeight") < 4000
