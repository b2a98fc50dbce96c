"""Dashboard while events are on: what participants owe, cannot handle and have not sent."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import clock
from sagas.admin.dashboard.event_section import EventSection
from sagas.events import dead_count
from sagas.events.asking import Answers
from sagas.models import SagaStatistic
from sagas.operators.queries import event_debts, statistics
from tests.admin.conftest import log_in
from tests.admin.dashboards import get
from tests.admin.pages import LogIn, read

from . import stories

__all__ = ["log_in"]
pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("events")]
URL = "/admin/sagas/"


def section_of(log_in: LogIn, name: str = "viewer") -> EventSection:
    """Return the section as a user sees it once sagas were counted."""
    client = log_in(name)
    statistics.refresh(tuple(statistics.PACES), timeout="5s")
    found = get(client).events
    assert found is not None
    return found


def test_participants_show_what_they_owe_and_have_not_sent(log_in: LogIn) -> None:
    stories.make_late()
    stories.make_owed()
    stories.see("inventory")
    section = section_of(log_in)

    rows = {row.participant: (row.owes, row.late, row.dead, row.lag) for row in section.rows}
    rows.pop("benchmarks", None)  # there once another test has imported its events
    assert rows == {
        "inventory": ("2", "1", "0", "0"), "orders": ("0", "0", "0", "unknown"),
        "payments": ("0", "0", "0", "0"), "shipping": ("0", "0", "0", "unknown"), "tracker": ("0", "0", "0", "0"),
    }  # fmt: skip
    assert [(tile.label, tile.count) for tile in section.tiles][:2] == [("Owed late", "1"), ("Dead letters", "0")]
    assert section.tiles[0].detail == "inventory"
    assert section.tiles[0].url == "/admin/sagas/saga/?needs=event_overdue"


def test_unsent_events_show_the_age_of_the_oldest(log_in: LogIn) -> None:
    stories.make_placed()
    clock.move(timedelta(minutes=3))
    section = section_of(log_in)

    assert {row.participant: row.unsent for row in section.rows}["orders"].startswith("1, oldest 3 min")
    assert section.tiles[2].count.startswith("3 min")


def test_dead_letters_lead_to_their_page(log_in: LogIn) -> None:
    stories.make_dead()
    section = section_of(log_in)

    assert {row.participant: (row.dead, row.tone) for row in section.rows}["inventory"] == ("1", "urgent")
    assert (section.tiles[1].count, section.tiles[1].url) == ("1", f"{URL}saga/events/dead-letters/")


def test_list_of_late_sagas_is_what_the_tile_leads_to(log_in: LogIn) -> None:
    saga = stories.make_late()
    section = section_of(log_in)

    response = log_in("viewer").get(section.tiles[0].url)

    assert [row.pk for row in response.context["cl"].result_list] == [saga.pk]


def test_database_that_does_not_answer_is_named(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    stories.make_owed()
    silent: Answers[Any] = Answers(found={}, unreachable={"away": "no answer within 1 s"})
    monkeypatch.setattr(event_debts, "ask_each", lambda *_: silent)
    client = log_in("viewer")
    statistics.refresh(tuple(statistics.PACES), timeout="5s")

    text = read(client.get(URL))

    assert "Unreachable, so not counted: database" in text


def test_dashboard_with_events_never_needs_more_than_ten_queries(log_in: LogIn) -> None:
    client = log_in("viewer")
    stories.make_late()
    dead_count.count_dead()  # the menu's count, which lasts for ten seconds
    with CaptureQueriesContext(connection) as stale:
        assert get(client).events == EventSection(is_left_out=True)
    with CaptureQueriesContext(connection) as fresh:
        assert get(client).events is not None

    counts = [len([one for one in found.captured_queries if is_asked(one["sql"])]) for found in (stale, fresh)]
    assert counts == [10, 9]


def is_asked(sql: str) -> bool:
    """Return whether a statement is more than a bracket of a transaction or the time-out in it."""
    return not sql.startswith(("BEGIN", "COMMIT", "SELECT set_config('statement_timeout'"))


def test_section_is_absent_while_events_are_off(log_in: LogIn, settings: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "EVENTS": {}}
    client = log_in("viewer")

    assert get(client).events is None
    assert "Events now" not in read(client.get(URL))
    assert SagaStatistic.objects.exists()
