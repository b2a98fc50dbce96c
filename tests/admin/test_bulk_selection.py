"""Bulk selection from the list: selected rows, or everything that matches a filter."""

from enum import Enum
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import RequestFactory, override_settings

from sagas.admin.saga_admin import SagaAdmin
from sagas.models import Saga, SagaBulk
from sagas.operators import operations
from sagas.operators.bulk import freezing
from sagas.operators.bulk.preconditions import BULK_OPERATIONS, EVERYTHING, REASONS_AGAINST
from sagas.operators.preconditions import Operation
from sagas.operators.preview import LABELS

from . import trips
from .bulks import NEW, freeze_matching, freeze_rows, frozen_ids, run, select_rows, url_of
from .pages import LIST, REASON, LogIn, operations_of, stored, text_of
from .trips import BOSS

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("operation", BULK_OPERATIONS)
def test_selected_sagas_are_shown_confirmed_and_operated_on(log_in: LogIn, operation: Operation) -> None:
    maker = trips.make_paused if operation is Operation.RESUME else trips.make_waiting_for_retry
    sagas, other = [maker(), maker()], maker()
    before = stored(other)
    client = log_in("supervisor")
    assert f'<option value="{operation.value}">' in client.get(LIST).content.decode()

    found = freeze_rows(client, *sagas, operation=operation)
    shown = text_of(client.get(url_of(found)))
    assert f"{LABELS[operation]}: 2 sagas" in shown
    assert shown.count("would be done") == 2
    assert [operations_of(saga)[1:] if operation is Operation.RESUME else operations_of(saga) for saga in sagas] == [
        [],
        [],
    ]

    started = client.post(url_of(found, "start"), {"reason": REASON})
    assert (started.status_code, started["Location"]) == (302, f"{url_of(found)}?reload=on")
    ended = run(found)

    assert (ended.state, ended.counts["done"]) == ("finished", 2)
    assert [operations_of(saga)[-1] for saga in sagas] == [(operation.value, "supervisor", REASON)] * 2
    assert stored(other) == before


class Location(Enum):
    """Django 6.1's places of actions, ``django.contrib.admin.options.ActionLocation``."""

    CHANGE_LIST = "CHANGE_LIST"
    CHANGE_FORM = "CHANGE_FORM"


def test_bulk_actions_are_offered_on_the_list_only(log_in: LogIn) -> None:
    log_in("supervisor")
    request = RequestFactory().get(LIST)
    request.user = get_user_model()._default_manager.get(username="supervisor")
    console = SagaAdmin(Saga, admin.site)

    assert set(console.get_actions(request, Location.CHANGE_LIST)) == set(BULK_OPERATIONS)
    assert set(console.get_actions(request)) == set(BULK_OPERATIONS)
    assert console.get_actions(request, action_location=Location.CHANGE_FORM) == {}


def test_selected_rows_stay_selected_if_they_no_longer_match_the_filter(log_in: LogIn) -> None:
    saga, client = trips.make_paused(), log_in("supervisor")
    operations.resume(saga.pk, actor=BOSS, reason=REASON)

    response = client.post(
        f"{LIST}?display=held", {"action": "pause", "index": "0", "_selected_action": [str(saga.pk)]}
    )

    assert response.status_code == 302
    assert frozen_ids(SagaBulk.objects.get()) == [saga.pk]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"action": ""}, "Choose an operation"),
        ({"action": "abandon"}, "Choose an operation"),
        ({"action": "nonsense"}, "Choose an operation"),
        ({"index": "7"}, "Choose an operation"),
        ({"index": "²"}, "Choose an operation"),
        ({"_selected_action": ["x"]}, "is no saga"),
        ({"_selected_action": ["x' OR 1=1 --", "\x00"]}, "is no saga"),
        ({"_selected_action": [str(uuid4())]}, "There is no saga"),
    ],
)
def test_invalid_selections_do_nothing(log_in: LogIn, form: dict[str, Any], text: str) -> None:
    saga = trips.start()
    before = stored(saga)

    response = select_rows(log_in("supervisor"), saga, **form)

    assert response.status_code == 302 or "Nothing" in text_of(response) or text in text_of(response)
    assert (SagaBulk.objects.count(), stored(saga)) == (0, before)


def test_selecting_across_pages_is_confirmed_as_a_filter(log_in: LogIn) -> None:
    saga, client = trips.make_paused(), log_in("supervisor")
    form = {"action": "resume", "index": "0", "select_across": "1", "_selected_action": [str(saga.pk)]}

    narrowed, whole = client.post(f"{LIST}?display=held&p=1", form), client.post(LIST, form)

    assert narrowed["Location"] == f"{NEW}?display=held"
    assert whole["Location"] == f"{NEW}?everything=1"
    assert SagaBulk.objects.count() == 0


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("by=slowest", "The slowest sagas are closed"),
        ("by=slowest&definition=trip", "The slowest sagas are closed"),
        ("before=2999-01-01T00:00:00Z~01a1f8dc-f172-7cb4-bfee-2d59bbfa6039", "a position, which is not a filter"),
    ],
)
def test_orders_and_cursors_cannot_be_frozen(log_in: LogIn, query: str, reason: str) -> None:
    trips.make_completed()
    saga, client = trips.make_paused(), log_in("supervisor")
    form = {"action": "resume", "index": "0", "select_across": "1", "_selected_action": [str(saga.pk)]}

    shown = text_of(client.get(f"{LIST}?{query}"))
    refused = client.post(f"{LIST}?{query}", form)

    assert (NEW in shown, reason in shown) == (False, True)
    assert refused["Location"] == f"{LIST}?{query}"
    said = text_of(client.get(refused["Location"]))
    assert f"{reason}" in said
    assert "Nothing was done." in said
    assert SagaBulk.objects.count() == 0
    assert reason not in text_of(log_in("viewer").get(f"{LIST}?{query}"))


def test_list_links_to_a_bulk_of_everything_that_matches_its_filter(log_in: LogIn) -> None:
    held, _, _ = trips.make_paused(), trips.start(), trips.make_abandoned()
    client = log_in("supervisor")

    page = text_of(client.get(LIST, {"display": "held", "p": "1", "o": "1", "since": "", "by": "longest"}))
    assert f'href="{NEW}?display=held"' in page
    assert f'href="{NEW}?everything=1"' in text_of(client.get(LIST))

    offered = text_of(client.get(f"{NEW}?display=held"))
    assert "state: held" in offered
    assert "<dd>1. Closed sagas are left out" in offered
    for operation in BULK_OPERATIONS:
        assert f'name="operation" value="{operation.value}"' in offered
    for operation, reason in REASONS_AGAINST.items():
        assert f'value="{operation.value}"' not in offered
        assert reason in offered
    found = freeze_matching(client, Operation.RESUME, display="held")
    assert (frozen_ids(found), found.words, found.filter) == ([held.pk], "state: held", {"display": "held"})


def read_console_filter(query: dict[str, str]) -> dict[str, str]:
    """Return how a query of the list is stored: under the names of the one filter, in UTC."""
    named = {"search" if name == "q" else name: value for name, value in query.items()}
    return {name: f"{value}T00:00:00+00:00" if name in ("since", "until") else value for name, value in named.items()}


def test_every_filter_and_the_search_limit_the_set(log_in: LogIn) -> None:
    saga, client = trips.make_paused(), log_in("supervisor")
    trips.start(trips.TourSaga)
    number = saga.keys.get().value

    for filter in (
        {"display": "held"}, {"needs": "paused"}, {"q": number}, {"operated": "yes"},
        {"since": "2020-01-01", "until": "2999-01-01", "definition": "trip"},
        {"definition": "trip:3", "started": "1h"},
    ):  # fmt: skip
        found = freeze_matching(client, **filter)
        assert (frozen_ids(found), found.filter) == ([saga.pk], read_console_filter(filter))
    assert found.words == "definition: trip:3; started within: 1h"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "No filter is given"),
        ("everything=2", "everything must be 1"),
        ("since=2000-01-01", "excludes no saga"),
        ("until=2999-01-01", "excludes no saga"),
        ("closed=no", "excludes no saga"),
        ("closed=no&since=2000-01-01&until=2999-01-01", "excludes no saga"),
        ("everything=1&display=held", "cannot be combined"),
        ("display=nonsense", "display must be one of"),
        ("display=", "display must be"),
        ("since=&until=", "since must be"),
        ("since=nonsense", "since must be"),
        ("attempts=1", "attempts must be a number from 2"),
        ("by=longest", "is a position in the list"),
        ("display=held&before=2026-11-20T00:00:00Z~01a1f8dc-f172-7cb4-bfee-2d59bbfa6039", "is a position in the list"),
        ("definition=%00", "definition must be"),
        ("display=held&display=running", "comes 2 times"),
        ("displayy=held", "The list has no filter"),
        ("display=held&state=running", "The list has no filter"),
        ("display=held&p=2", "is a position in the list"),
        ("display=held&_facets=1", "is a position in the list"),
        ("display=held&e=1", "is a position in the list"),
        ("steps__result__isnull=0", "The list has no filter"),
        ("q=", "search must be"),
        ("q=%20%20", "search must be"),
        ("q=a%00b", "search must be"),
        ("display=held&q=a%00b", "search must be"),
    ],
)
def test_missing_or_tampered_filter_is_an_error(log_in: LogIn, query: str, text: str) -> None:
    saga, client = trips.make_paused(), log_in("admin")
    before = stored(saga)

    for response in (client.get(f"{NEW}?{query}"), client.post(f"{NEW}?{query}", {"operation": "resume"})):
        assert response.status_code == 400
        assert text in text_of(response)
    assert (SagaBulk.objects.count(), stored(saga)) == (0, before)


def test_frozen_set_does_not_change_with_the_filter(log_in: LogIn) -> None:
    first, client = trips.make_paused(), log_in("supervisor")
    found = freeze_matching(client, Operation.RESUME, display="held")
    second = trips.make_paused()
    before = stored(second)

    client.post(f"{url_of(found, 'start')}?display=running&everything=1", {"reason": REASON})
    run(found)

    assert (len(operations_of(first)), stored(second)) == (2, before)


def test_bulk_of_all_open_sagas_needs_a_typed_confirmation(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    assert "(no filter)" in text_of(client.get(f"{NEW}?everything=1"))
    found = freeze_matching(client, everything="1")
    shown = text_of(client.get(url_of(found)))
    assert f"Type: {EVERYTHING}" in shown

    for words in ("", "yes", "Every open saga"):
        refused = client.post(url_of(found, "start"), {"reason": REASON, "words": words})
        assert refused.status_code == 400
    assert freezing.find_bulk(found.pk).state == "frozen"
    assert client.post(url_of(found, "start"), {"reason": REASON, "words": EVERYTHING}).status_code == 302
    run(found)
    assert len(operations_of(saga)) == 1


def test_count_must_be_typed_for_more_than_a_hundred(log_in: LogIn) -> None:
    for _ in range(101):
        trips.start()
    client = log_in("supervisor")
    found = freeze_matching(client, definition="trip")
    assert "Type 101 to go on." in text_of(client.get(url_of(found)))

    for count in ("", "100", "abc", "101.5", "9" * 40, "-101"):
        refused = client.post(url_of(found, "start"), {"reason": REASON, "count": count})
        assert refused.status_code == 400, count
    assert freezing.find_bulk(found.pk).state == "frozen"
    assert client.post(url_of(found, "start"), {"reason": REASON, "count": "101"}).status_code == 302
    assert freezing.find_bulk(found.pk).state == "running"


def test_too_many_sagas_are_refused_before_and_after_freezing(log_in: LogIn) -> None:
    for _ in range(3):
        trips.start()
    client = log_in("supervisor")

    with override_settings(SAGAS={"BULK_MAX": 2}):
        offered = text_of(client.get(f"{NEW}?definition=trip"))
        posted = client.post(f"{NEW}?definition=trip", {"operation": "pause"})

    assert "More than 2 sagas match" in offered
    assert 'name="operation"' not in offered
    assert (posted.status_code, SagaBulk.objects.count()) == (400, 0)
    assert "More than 2 sagas match, the limit of one bulk (SAGAS['BULK_MAX'])" in text_of(posted)


def test_users_are_offered_only_what_they_may_do(log_in: LogIn) -> None:
    trips.make_waiting_for_retry()
    url = f"{NEW}?everything=1"

    operators, supervisors = (log_in(name).get(url).content.decode() for name in ("operator", "supervisor"))
    viewers = log_in("viewer").get(url).content.decode()

    assert [f'value="{code}"' in operators for code in ("retry", "pause", "resume", "cancel", "compensate")] == [
        True, True, True, True, False,
    ]  # fmt: skip
    assert 'value="compensate"' in supervisors
    assert 'name="operation"' not in viewers
    assert "it needs sagas.bulk_saga and the permission of the operation" in viewers


@pytest.mark.parametrize("operation", ["", "nonsense", "skip", "mark_succeeded", "abandon", "\x00"])
def test_operations_that_bulks_do_not_offer_are_refused(log_in: LogIn, operation: str) -> None:
    saga = trips.start()
    before = stored(saga)

    response = log_in("admin").post(f"{NEW}?definition=trip", {"operation": operation})

    assert (response.status_code, SagaBulk.objects.count(), stored(saga)) == (400, 0, before)


def test_filter_without_matches_freezes_nothing(log_in: LogIn) -> None:
    trips.make_completed()

    client = log_in("supervisor")
    assert "No open saga matches" in text_of(client.get(f"{NEW}?definition=trip"))
    assert client.post(f"{NEW}?definition=trip", {"operation": "pause"}).status_code == 400
