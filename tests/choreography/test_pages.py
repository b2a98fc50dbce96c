"""Console, API and lists show choreographed sagas with the pages and words of all sagas."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

import sagas
from sagas import clock
from sagas.models import Saga
from sagas.monitoring import versions
from sagas.operators.actor import Actor
from sagas.operators.presentation import DisplayState
from sagas.operators.presentation.filters import annotate_display_state, filter_by_display
from sagas.operators.presentation.sentences import explain
from sagas.testing.invariants import find_violations
from tests.admin.pages import LIST

from .world import Booked, Cancelled, Confirmed, Gone, Paid, Quoted, Refunded, Sale, Short, Stored, Unpaid, begin, tell

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("sales")]
ADA = Actor(name="ada", is_trusted=True)
PATHS = [
    [], [Paid], [Paid, Short], [Paid, Short, Cancelled], [Paid, Short, Cancelled, Refunded], [Unpaid, Cancelled, Paid],
    [Paid, Stored, Quoted, Confirmed], [Paid, Stored, Quoted, Confirmed, Booked, Gone],
]  # fmt: skip


@pytest.fixture
def console() -> Client:
    """Log in who may see and do everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def read(saga: Saga) -> Saga:
    return Saga.objects.get(pk=saga.pk)


def headline(saga: Saga) -> str:
    saga = read(saga)
    return explain(saga, list(saga.steps.all()), clock.read_now("default"), reader=ADA, with_errors=True).headline


def test_headline_says_who_owes_what_since_when_and_how_long() -> None:
    saga = tell(begin(), Paid)
    since = sagas.summarize(saga).step("stock").due_at
    assert since is not None
    clock.move(timedelta(seconds=61))

    started = since - timedelta(minutes=2)
    assert headline(saga) == f"inventory owes ChorStored or ChorShort since {started:%H:%M:%S} (1 min 1 s of 2 min)."


def test_headline_names_every_debt_and_what_is_not_recorded_yet() -> None:
    saga = begin()
    assert headline(saga).endswith("; ChorBegun is not recorded yet).")
    saga = tell(saga, Paid, Stored, Quoted, Confirmed)
    assert [text.split(" since")[0] for text in headline(saga).split("; ")] == [
        "shipping owes ChorBooked", "inventory owes ChorGone"
    ]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: "-".join(one.__name__ for one in path) or "begun")
def test_every_view_shows_every_state(console: Client, path: list[type]) -> None:
    saga = tell(begin(), *path)
    shown = sagas.summarize(saga).display_state
    for tab in ("", "?tab=flow", "?tab=timeline", "?tab=events", "?tab=history", "?tab=steps"):
        answer = console.get(f"{LIST}{saga.pk}/change/{tab}", follow=True)
        assert (answer.status_code, "ORD-1" in answer.content.decode()) == (200, True)
    assert console.get(f"{LIST}?display={shown}").status_code == 200
    document = console.get(f"/api/v1/sagas/{saga.pk}/").json()
    assert (document["display_state"], len(document["steps"])) == (shown, 5)
    assert console.get("/api/v1/sagas/").json()["results"][0]["id"] == str(saga.pk)
    assert find_violations(saga.pk) == []
    rows = Saga.objects.filter(pk=saga.pk)
    assert annotate_display_state(rows).get().display_state == shown
    assert filter_by_display(rows, DisplayState(shown)).exists()


def test_page_names_the_debt_at_its_step(console: Client) -> None:
    saga = tell(begin(), Paid)
    text = console.get(f"{LIST}{saga.pk}/change/").content.decode()
    assert "waiting for an event" in text
    assert "inventory owes ChorStored or ChorShort since" in text
    strip = re.findall(r'<li class="saga-tone-(\w+)(?: saga-here)?"', text)
    assert strip == ["good", "waiting", "quiet", "quiet", "quiet"]
    assert re.search(r'saga-strip-detail">.*inventory · .* of 2 min.*</span>', text) is not None
    assert "Nobody commands here: participants react to events. Cancel asks orders." in text
    assert "choreography: participants react to events" in text


def test_document_names_the_debt(console: Client) -> None:
    saga = tell(begin(), Paid)
    [debt] = read(saga).owed
    document = console.get(f"/api/v1/sagas/{saga.pk}/").json()
    assert document["coordination"] == "choreography"
    assert document["owed"] == [
        {
            "step": "stock", "by": "inventory", "types": ["ChorStored", "ChorShort"],
            "since": debt["since"], "due_at": debt["due_at"],
        },
    ]  # fmt: skip


def test_operation_page_says_what_a_cancel_does(console: Client) -> None:
    saga = begin()
    text = console.get(f"{LIST}{saga.pk}/act/cancel/").content.decode()
    assert "orders is asked to cancel. If it does, it sends ChorCancelled" in text


def test_filter_by_state_and_definition(console: Client) -> None:
    saga = tell(begin(), Paid)
    assert [found.pk for found in sagas.query(Sale, display_state="waiting_for_event")] == [saga.pk]
    assert sagas.find(Sale, order="ORD-1") == saga
    text = console.get(f"{LIST}?definition=chor-sale&display=waiting_for_event").content.decode()
    assert "chor-sale" in text
    assert console.get(f"{LIST}definitions/").status_code == 200


def test_transcript_and_export_hold_what_is_owed(capsys: pytest.CaptureFixture[str]) -> None:
    saga = tell(begin(), Paid)
    call_command("saga_show", str(saga.pk))
    assert "inventory owes ChorStored or ChorShort since" in capsys.readouterr().out
    call_command("saga_show", str(saga.pk), "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["coordination"] == "choreography"
    # In the order in which the tracker recorded them, which for senders with databases of their own is any.
    assert sorted(event["type"] for event in document["events"]) == ["ChorBegun", "ChorPaid"]


def test_versions_leave_choreographies_alone() -> None:
    begin()
    assert versions.find_unknown_versions() == []


def test_closed_saga_is_purged_with_its_facts() -> None:
    saga = tell(begin(), Unpaid, Cancelled)
    clock.move(timedelta(days=400))
    call_command("saga_cleanup", "--older-than", "30d")
    assert not Saga.objects.filter(pk=saga.pk).exists()
