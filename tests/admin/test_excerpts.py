from collections.abc import Callable

import pytest
from django.test import Client

from sagas.admin.ui.excerpt import Folded, fold, fold_error
from sagas.models import SagaAttempt, SagaHistory

from . import trips
from .pages import page_of


def test_short_text_is_not_shortened() -> None:
    assert fold("Sold out.") == Folded(line="Sold out.")
    assert fold("") == Folded(line="")


def test_long_text_and_further_lines_are_collapsed() -> None:
    assert fold("a" * 49) == Folded(line=f"{'a' * 48}…", whole="a" * 49)
    assert fold("One.\nTwo.") == Folded(line="One.…", whole="One.\nTwo.")


def test_module_path_of_an_error_is_dropped_in_the_excerpt_only() -> None:
    assert fold_error("shop.stock.SoldOut: None left.") == Folded(
        line="SoldOut: None left.", whole="shop.stock.SoldOut: None left."
    )
    assert fold_error("The pump of hall 3.1 failed: no oil.") == Folded(line="The pump of hall 3.1 failed: no oil.")


def test_repeated_error_refers_to_the_first_one() -> None:
    assert fold("Sold out.", repeats="no. 7") == Folded(line="same as no. 7", whole="Sold out.")
    assert fold_error("", repeats="no. 7") == Folded(line="")


@pytest.mark.django_db
def test_error_that_a_step_repeats_is_shown_once(log_in: Callable[..., Client]) -> None:
    saga = trips.make_compensation_failing()
    attempts = SagaAttempt.objects.filter(saga=saga, direction="compensation").order_by("pk")
    entries = SagaHistory.objects.filter(saga=saga, reason__contains="airline").order_by("number")
    assert (attempts.count(), entries.count()) == (10, 10)

    client = log_in("admin")
    attempts_page = client.get(page_of(saga, "timeline")).content.decode()
    page = client.get(page_of(saga, "history")).content.decode()

    assert attempts_page.count("same as attempt 1</summary>") == 9
    assert attempts_page.count("<summary>RuntimeError: The airline is closed.</summary>") == 1
    assert page.count(f"same as no. {entries[0].number}</summary>") == 9
    assert page.count("<td>RuntimeError: The airline is closed.") == 1


@pytest.mark.django_db
def test_repeated_error_shows_no_more_than_the_first_one(log_in: Callable[..., Client]) -> None:
    page = log_in("viewer").get(page_of(trips.make_compensation_failing(), "timeline")).content.decode()

    assert "same as attempt 1" in page
    assert "airline" not in page
