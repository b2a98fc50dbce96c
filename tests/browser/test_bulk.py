"""Bulks in a browser: all sagas of one failing provider, and a mistaken bulk that is refused."""

import re

import pytest
from playwright.sync_api import expect

from sagas.models import SagaBulk, SagaHistory
from sagas.operators import operations
from sagas.operators.bulk import runner
from sagas.operators.bulk.preconditions import CONFIRM_COUNT_ABOVE, EVERYTHING
from tests.admin import trips

from .conftest import Visit
from .inspection import WIDE
from .scenes import REASON, run

pytestmark = pytest.mark.parametrize("has_scripts", [True, False])


def count_logged() -> int:
    return SagaHistory.objects.filter(what="operator_acted", data__has_key="bulk").count()


def test_all_sagas_of_one_failing_provider_are_retried_together(visit: Visit, has_scripts: bool) -> None:
    sagas = [trips.make_waiting_for_retry() for _ in range(CONFIRM_COUNT_ABOVE + 1)]
    total = len(sagas)
    other = trips.make_paused()
    page = visit(
        "supervisor", "/admin/sagas/saga/?display=waiting_for_retry", java_script_enabled=has_scripts, viewport=WIDE
    ).page

    page.get_by_role("link", name="all that match").click()
    expect(page.locator("#content-main")).to_contain_text("state: waiting for retry")
    page.get_by_role("button", name=f"Retry now: review {total} sagas").click()
    expect(page).to_have_title(re.compile(f"Retry now: {total} sagas"))
    operations.cancel(sagas[3].pk, actor=trips.BOSS, reason=REASON)  # a faster colleague

    button = page.get_by_role("button", name=f"Retry now: {total} sagas")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("How many sagas?").fill(str(total - 1))
    button.click()
    expect(page.get_by_role("alert")).to_contain_text("Not done")
    expect(page.locator(".errorlist")).to_contain_text(f"You typed {total - 1}, but this selection has {total} sagas.")
    assert count_logged() == 0
    page.get_by_label("How many sagas?").fill(str(total))
    button.click()
    expect(page.get_by_role("status").filter(has_text=f"Started: workers act on {total} sagas now.")).to_be_visible()

    if not has_scripts:  # the page reloads by itself until the bulk is done
        expect(page.get_by_role("link", name="Stop reloading")).to_be_visible()
    run(SagaBulk.objects.get())
    expect(page.locator("#content-main")).to_contain_text(f"{total} of {total} sagas have a result.", timeout=60_000)
    page.get_by_role("link", name="changed, nothing done 1").click()
    expect(page.get_by_role("region", name="Result of each saga").get_by_role("row")).to_have_count(2)
    assert count_logged() == total - 1
    assert other.history.filter(what="operator_acted", data__has_key="bulk").count() == 0


def test_mistaken_bulk_is_refused(visit: Visit, has_scripts: bool) -> None:
    for _ in range(3):
        trips.make_waiting_for_retry()
    visitor = visit("supervisor", "/admin/sagas/sagabulk/new/?displya=held", java_script_enabled=has_scripts)
    page = visitor.page

    expect(page.get_by_role("alert")).to_contain_text("The list has no filter 'displya'")
    visitor.open("/admin/sagas/saga/")
    page.get_by_role("link", name="all that match").click()
    page.get_by_role("button", name="Force compensate: review 3 sagas").click()
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("Which sagas?").fill("yes")
    page.get_by_role("button", name="Force compensate: 3 sagas").click()
    expect(page.locator(".errorlist")).to_contain_text("This selection has no filter.")
    page.get_by_role("link", name="Back without changes").click()

    run_nothing = [runner.run_due(), count_logged(), SagaBulk.objects.get().state]
    assert run_nothing == [0, 0, "frozen"]
    assert EVERYTHING == "every open saga"


def test_selected_rows_open_a_bulk_page(visit: Visit, has_scripts: bool) -> None:
    sagas = [trips.make_waiting_for_retry() for _ in range(3)]
    page = visit("supervisor", java_script_enabled=has_scripts).page

    for saga in sagas[:2]:
        page.locator(f'input[name="_selected_action"][value="{saga.pk}"]').check()
    page.get_by_label("Action:").select_option("pause")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("table", name=re.compile("All 2 sagas")).get_by_role("row")).to_have_count(3)
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Pause: 2 sagas").click()
    page.get_by_label("Reason (optional)").fill("Wrong ones.")
    page.get_by_role("button", name="Stop this bulk").click()

    expect(page.get_by_role("status").filter(has_text="Stopped.")).to_be_visible()
    assert (runner.run_due(), count_logged()) == (0, 0)
