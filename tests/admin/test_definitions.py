"""Definitions in use: counts, rates, retries, differences between versions, and digests that the code lost."""

from collections.abc import Iterator
from html import unescape

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from sagas import Compensatable, Pivot, RetryLater, RetryPolicy, SagaDefinition
from sagas.core.definition import registry
from sagas.models import Saga, SagaStatistic
from sagas.operators.queries.definitions import Tries, read_versions
from sagas.operators.queries.statistics import DAY, WEEK
from sagas.testing import drain

from . import trips
from .pages import HOSTILE, LIST, LogIn, ids, listed, read

pytestmark = pytest.mark.django_db

URL = f"{LIST}definitions/"
TRIP = f"{URL}trip/3/"
TOUR = f"{URL}tour/1/"


@pytest.fixture
def newer() -> Iterator[type[SagaDefinition]]:
    """Declare a fourth version of the trip: paid first, without tickets, and with another retry."""
    with registry.preserved():

        class NewTripSaga(SagaDefinition):
            book_flight = Compensatable(trips.do, trips.undo, participant="shipping", external=True)
            book_hotel = Compensatable(
                trips.do, trips.undo, participant="inventory", retry=RetryPolicy(attempts=9, base=1, factor=1)
            )
            insure = Compensatable(trips.do, trips.undo)
            pay = Pivot(trips.do, participant="payments", external=True)

            class Meta:
                name = "trip"
                version = 4
                input = trips.TripInput

        yield NewTripSaga


def lose_code() -> None:
    """Let the code lose version 3 of the trip; inside ``preserved``."""
    registry.forget("trip", 3)


def test_counts_and_rates_are_those_of_the_rows() -> None:
    trips.make_completed()
    trips.make_compensated()
    trips.make_refused("book_hotel", RetryLater("Later.", after=3000))

    found = read_versions(DAY).versions["trip", 3]

    assert (found.open, found.open_elsewhere) == (1, 0)
    assert (found.closed, found.completed, found.compensated) == (2, 1, 1)
    assert found.seconds is not None
    assert found.tries["book_hotel", "action"] == Tries(attempts=3, failures=1)
    assert found.tries["book_flight", "action"] == Tries(attempts=2, refusals=1)
    assert found.tries["book_hotel", "compensation"] == Tries(attempts=1)
    assert read_versions(WEEK).versions["trip", 3].tries == found.tries


def test_list_shows_every_definition_and_links_to_its_open_sagas(log_in: LogIn) -> None:
    trips.make_completed()
    waiting = [trips.make_refused("book_hotel", RetryLater("Later.", after=3000)) for _ in range(2)]
    client = log_in("viewer")

    response = client.get(URL)

    rows = {(row.name, row.version): row for row in response.context["rows"]}
    assert {("checkout", 1), ("trip", 3), ("tour", 1)} <= set(rows)
    row = rows["trip", 3]
    assert (row.badge.word, row.open, row.closed, row.completed) == ("in the code", "2", "1", "100.0 % (1)")
    assert row.worst == "book_hotel: 66.7 % (2)"
    assert row.url == TRIP
    assert listed(client.get(row.open_url)) == ids(*waiting)
    assert rows["tour", 1].closed == "0"


def test_page_shows_graph_rates_and_retries_in_effect(log_in: LogIn) -> None:
    trips.make_compensated()

    response = log_in("viewer").get(TRIP)

    text = read(response)
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in text
    for name in ("book_hotel", "book_flight", "pay", "send_tickets"):
        assert f">{name}<" in text
    retries = {(row.step, row.retries.direction.value): row.retries for row in response.context["retries"]}
    hotel, back, pay = (
        retries[key] for key in (("book_hotel", "action"), ("book_hotel", "compensation"), ("pay", "action"))
    )
    assert (hotel.attempts, hotel.backoff, hotel.limit, hotel.after_budget, hotel.timeout, hotel.source) == (
        "5", "500 ms, then times 2, at most 30 s", "none", "the saga turns back", "10 s", "project",
    )  # fmt: skip
    assert (back.attempts, back.after_budget) == ("10", "every 1 h")
    assert pay.after_budget == "the saga turns back, or is held if unknown"
    assert ("pay", "compensation") not in retries
    steps = {(row.step, row.direction): (row.attempts, row.refused) for row in response.context["steps"]}
    assert steps["book_flight", "action"] == ("1", "100.0 % (1)")
    assert steps["send_tickets", "action"] == ("0", "-")


def test_retries_are_those_of_the_projects_settings(log_in: LogIn) -> None:
    with override_settings(SAGAS={"RETRY": RetryPolicy(attempts=2, max_elapsed=90)}):
        response = log_in("viewer").get(TRIP)

    found = response.context["retries"][0].retries
    assert (found.attempts, found.limit) == ("2", "1 min 30 s")


def test_differences_between_versions(log_in: LogIn, newer: type[SagaDefinition]) -> None:
    response = log_in("viewer").get(f"{URL}trip/4/")

    assert response.context["other"] == "3"
    assert [(one.step, one.text) for one in response.context["differences"]] == [
        ("", "deadline: 1 h → none"),
        ("send_tickets", "removed"),
        ("book_flight", "moved"),
        ("book_hotel", "attempts of the action: 5 → 9"),
        ("book_hotel", "delays of the action: 500 ms, then times 2, at most 30 s → 1.0 s each"),
        ("insure", "added"),
    ]
    assert "removed" in read(response)
    back = log_in("viewer").get(TRIP, {"with": "4"}).context["differences"]
    assert ("insure", "removed") in [(one.step, one.text) for one in back]
    assert log_in("viewer").get(TRIP).context["differences"] == []


def test_digest_that_the_code_lost_is_shown_with_its_open_sagas(log_in: LogIn) -> None:
    sagas = [trips.start() for _ in range(3)]
    drain(trips.start())
    Saga.objects.filter(pk__in=[saga.pk for saga in sagas]).update(digest="0" * 64)
    client = log_in("viewer")

    response = client.get(TRIP)

    assert "3 open sagas run on a digest that the code no longer has" in read(response)
    row = response.context["row"]
    assert row.badge.word == "changed in the code"
    assert listed(client.get(row.open_url)) == ids(*sagas)


def test_version_without_code_is_shown_from_stored_steps(log_in: LogIn, newer: type[SagaDefinition]) -> None:
    trips.start()
    client = log_in("viewer")
    lose_code()

    response, after = client.get(TRIP), client.get(f"{URL}trip/4/")

    assert "1 open saga runs on this version, which the code does not have." in read(response)
    assert [node.name for node in response.context["nodes"]] == ["book_hotel", "book_flight", "pay", "send_tickets"]
    assert response.context["retries"] == []
    assert ("send_tickets", "removed") in [(one.step, one.text) for one in after.context["differences"]]
    assert {(row.name, row.version): row.badge.word for row in client.get(URL).context["rows"]}["trip", 3] == (
        "not in the code"
    )


def test_unused_version_without_code_does_not_exist(log_in: LogIn, newer: type[SagaDefinition]) -> None:
    lose_code()

    response = log_in("viewer").get(TRIP)

    assert response.status_code == 404
    assert "There is no definition 'trip' in version 3" in unescape(response.content.decode())


@pytest.mark.parametrize("url", [URL, TRIP])
def test_who_may_see_definitions(log_in: LogIn, url: str) -> None:
    for name in ("viewer", "operator", "supervisor", "admin"):
        assert log_in(name).get(url).status_code == 200, name
    assert log_in("staff").get(url).status_code == 403
    assert log_in("anonymous").get(url).status_code == 302
    assert log_in("admin").post(url).status_code == 405


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("span=7d", 200), ("span=24h", 200), ("span=1h", 400), ("span=%00", 400), ("span=24h&span=7d", 400),
        ("with=3", 400), ("with=99", 400), ("with=x", 400), ("", 200),
    ],
)  # fmt: skip
def test_bad_queries_are_refused(log_in: LogIn, query: str, status: int) -> None:
    assert log_in("viewer").get(f"{TRIP}?{query}").status_code == status
    if "with" not in query:
        assert log_in("viewer").get(f"{URL}?{query}").status_code == status


@pytest.mark.parametrize(
    "path", ["nothing/1/", "trip/0/", f"trip/{'9' * 30}/", "%00/1/", "%E2%80%AEpirt/3/", "Trip/3/"]
)
def test_unknown_versions_are_not_found(log_in: LogIn, path: str) -> None:
    assert log_in("admin").get(f"{URL}{path}").status_code == 404


def test_no_data_and_no_statistics(log_in: LogIn) -> None:
    client = log_in("viewer")

    assert {row.closed for row in client.get(URL).context["rows"]} == {"0"}
    assert client.get(TOUR).context["row"].median == "-"


def test_hostile_and_huge_values(log_in: LogIn) -> None:
    client = log_in("admin")
    client.get(URL)
    key = {"definition": HOSTILE, "version": 2**31 - 1}
    closed = {**key, "sagas": 10**15, "completed": 1, "compensated": 0, "seconds": [1e-9, 1e12]}
    attempts = {**key, "step": HOSTILE, "direction": "action", "attempts": 10**12, "failures": 1, "refusals": 0}
    SagaStatistic.objects.filter(name="definitions").update(
        data={"stored": [key], "opened": [{**key, "digest": "x", "sagas": 10**12}]}
    )
    SagaStatistic.objects.filter(name="definitions_day").update(data={"closed": [closed], "steps": [attempts]})

    response = client.get(URL)

    text = response.content.decode()
    assert "<script>alert" not in text
    assert HOSTILE in unescape(text)
    [row] = [row for row in response.context["rows"] if row.name == HOSTILE]
    assert (row.url, row.open_url, row.open) == ("", "", "1,000,000,000,000")
    assert (row.closed, row.completed) == ("1,000,000,000,000,000", "< 0.1 % (1)")


def test_pages_never_need_more_than_ten_queries(log_in: LogIn, newer: type[SagaDefinition]) -> None:
    for maker in trips.MAKERS.values():
        maker()
    lose_code()
    client = log_in("viewer")
    counts = []
    for url in (URL, TRIP, f"{TRIP}?with=4", f"{URL}?span=7d"):
        SagaStatistic.objects.all().delete()
        with CaptureQueriesContext(connection) as asked:
            assert client.get(url).status_code == 200
        counts.append(len([one for one in asked.captured_queries if "SAVEPOINT" not in one["sql"]]))

    assert max(counts) <= 10


def test_list_of_sagas_links_to_the_page(log_in: LogIn) -> None:
    assert reverse("admin:sagas_saga_definitions") == URL
    assert f'href="{URL}"' in read(log_in("viewer").get(LIST))


def test_no_payload_and_no_user_is_shown(log_in: LogIn) -> None:
    saga = trips.make_paused()
    trips.make_compensation_failing()

    for url in (URL, TRIP):
        text = read(log_in("admin").get(url))
        for secret in (str(saga.pk), "boss", trips.REASON, "The airline is closed.", "ORD-"):
            assert secret not in text
