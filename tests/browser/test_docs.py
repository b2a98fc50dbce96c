"""API documentation in a real browser under the policy that forbids inline scripts and styles."""

import pytest
from playwright.sync_api import expect

from orders.seed import seed_shop

from .conftest import Visit


def test_docs_show_the_document_and_send_a_request(visit: Visit) -> None:
    seed_shop()
    page = visit("admin", "/api/docs/").page

    expect(page.get_by_role("heading", name="Sagas for Django: the shop")).to_be_visible()
    block = page.locator(".opblock", has_text="/api/v1/products/")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()

    expect(block.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(block.locator(".live-responses-table")).to_contain_text("TEA-EARL-GREY")


def test_docs_link_to_the_document_without_javascript(visit: Visit) -> None:
    visitor = visit(java_script_enabled=False)
    visitor.open("/api/docs/")

    expect(visitor.page.get_by_role("link", name="/api/schema/")).to_be_visible()


@pytest.mark.parametrize("path", ["/admin/", "/admin/nothing/", "/nothing/", "/admin/password_change/"])
def test_other_pages_obey_the_policy(visit: Visit, path: str) -> None:
    visitor = visit("admin", path)

    expect(visitor.page.locator("body")).not_to_be_empty()


def test_policy_is_enforced_and_violations_are_detected(visit: Visit) -> None:
    visitor = visit("admin")
    page = visitor.page

    page.evaluate(
        "() => { const planted = document.createElement('script'); planted.textContent = 'window.planted = 1';"
        " document.body.append(planted);"
        " document.body.insertAdjacentHTML('beforeend', '<b style=\"color:red\">x</b>'); }"
    )

    assert page.evaluate("window.planted") is None
    heard, visitor.complaints = visitor.complaints, []
    assert len(heard) == 2
    assert all("Content Security Policy" in complaint for complaint in heard)
