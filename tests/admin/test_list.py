from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas.admin.ui import paging
from sagas.core.definition import registry
from sagas.core.states import Attention, Hold
from sagas.models import Saga
from sagas.operators.presentation import REASONS as REASON_CODES
from sagas.operators.presentation import DisplayState, filter_by_display, filter_by_reason, needs_operator
from sagas.operators.queries import search as searching
from sagas.operators.queries.search import search_sagas

from . import trips
from .pages import HOSTILE, LIST, LogIn, ids, listed, page_of
from .test_display import REASONS, STATES

pytestmark = pytest.mark.django_db


def test_row_shows_what_an_operator_needs(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()

    text = unescape(log_in("supervisor").get(LIST).content.decode())

    number = saga.keys.get().value
    for shown in ("compensation failing", "trip 3", number, "book_flight", "10 of 10", "in 1 h"):
        assert shown in text
    assert "RuntimeError: The airline is closed." in text
    assert "icons.svg#warning" in text
    assert f'href="{page_of(saga)}"' in text


def test_state_is_shown_as_text_icon_and_colour(log_in: LogIn) -> None:
    for maker in trips.MAKERS.values():
        maker()

    text = log_in("viewer").get(LIST).content.decode()

    rows = text.split("<tbody>")[1].partition("</tbody>")[0].split("<tr>")[1:]
    assert len(rows) == len(trips.MAKERS)
    for row in rows:
        assert row.count('class="saga-badge saga-tone-') == 1
        assert row.count("icons.svg#") == 1
        assert row.count("<strong>") == 2


@pytest.mark.filterwarnings("error::django.utils.deprecation.RemovedInNextVersionWarning")
@pytest.mark.parametrize("path", ["/admin/", LIST, f"{LIST}failures/", f"{LIST}definitions/trip/3/", f"{LIST}log/"])
def test_lists_use_nothing_that_django_deprecates(log_in: LogIn, path: str) -> None:
    for maker in trips.MAKERS.values():
        maker()

    assert log_in("supervisor").get(path).status_code == 200


def test_query_count_does_not_depend_on_the_number_of_sagas(log_in: LogIn) -> None:
    client = log_in("supervisor")
    trips.make_compensation_failing()
    with CaptureQueriesContext(connection) as few:
        assert len(listed(client.get(LIST))) == 1
    for maker in trips.MAKERS.values():
        maker()
    with CaptureQueriesContext(connection) as many:
        assert len(listed(client.get(LIST, {"q": "ORD", "display": "held", "started": "24h"}))) == 6

    assert len(few) == len(many) <= 10


def test_state_filter(log_in: LogIn) -> None:
    sagas = {name: trips.MAKERS[name]() for name in STATES}
    client = log_in("viewer")

    for state in DisplayState:
        found = listed(client.get(LIST, {"display": state.value}))
        assert found == ids(*(saga for name, saga in sagas.items() if STATES[name] is state)), state


def test_attention_filter(log_in: LogIn) -> None:
    sagas = {name: trips.MAKERS[name]() for name in STATES}
    client = log_in("viewer")

    assert listed(client.get(LIST, {"needs": "any"})) == ids(*(sagas[name] for name in REASONS))
    for reason in (*Hold, *Attention):
        expected = ids(*(sagas[name] for name, reasons in REASONS.items() if reason.value in reasons))
        assert listed(client.get(LIST, {"needs": reason.value})) == expected


def test_definition_filter_finds_definitions_missing_from_the_code(log_in: LogIn) -> None:
    trip, tour = trips.start(), trips.start(trips.TourSaga)
    lost = trips.start()
    Saga.objects.filter(pk=lost.pk).update(definition="retired.flow", version=7)
    client = log_in("viewer")

    assert listed(client.get(LIST, {"definition": "trip"})) == ids(trip)
    assert listed(client.get(LIST, {"definition": "trip:3"})) == ids(trip)
    assert listed(client.get(LIST, {"definition": "trip:2"})) == set()
    assert listed(client.get(LIST, {"definition": "tour"})) == ids(tour)
    assert listed(client.get(LIST, {"definition": "retired.flow:7"})) == ids(lost)


def test_version_filter_is_offered_if_there_are_several(log_in: LogIn) -> None:
    with registry.preserved():

        class NewerTrip(trips.SagaDefinition):
            book_hotel = trips.Compensatable(trips.do, trips.undo)

            class Meta:
                name = "trip"
                version = 4

        text = log_in("viewer").get(LIST).content.decode()

    assert "trip, version 3</a>" in text
    assert "trip, version 4</a>" in text
    assert "tour, version 1</a>" not in text


def test_start_filter(log_in: LogIn) -> None:
    young, old = trips.start(), trips.start()
    Saga.objects.filter(pk=old.pk).update(created_at=old.created_at - trips.timedelta(hours=2))
    client = log_in("viewer")

    assert listed(client.get(LIST, {"started": "1h"})) == ids(young)
    assert listed(client.get(LIST, {"started": "24h"})) == ids(young, old)


def test_filters_and_search_are_kept_in_the_urls(log_in: LogIn) -> None:
    trips.make_paused()
    client = log_in("viewer")

    text = unescape(client.get(LIST, {"display": "held", "q": "ORD"}).content.decode())

    assert "?display=held&needs=any&q=ORD" in text
    assert '<input type="hidden" name="display" value="held">' in text
    assert 'name="q" value="ORD"' in text


@pytest.mark.parametrize(
    "query",
    [
        {"display": "nowhere"},
        {"needs": "nobody"},
        {"definition": "Trip'; DROP TABLE"},
        {"definition": "nul\x00"},
        {"started": "99y"},
    ],
)
def test_unknown_choice_shows_no_rows_and_lists_the_valid_ones(log_in: LogIn, query: dict[str, str]) -> None:
    saga, client = trips.start(), log_in("viewer")
    [(name, value)] = query.items()
    known = {
        "display": "held, ",
        "needs": "any, ",
        "definition": "name:version",
        "started": "15m, 1h, 24h, 7d, 30d, not",
    }

    for also in ({}, {"e": "1"}, {"closed": "no"}):
        response = client.get(LIST, {**query, **also})
        text = unescape(response.content.decode())
        assert response.status_code == 400
        assert str(saga.pk) not in text
        assert (f"{name} must be " in text, f", not {value!r}." in text) == (True, True)
        assert known[name] in text
    assert client.get(f"{LIST}refresh/", query).status_code == 400


@pytest.mark.parametrize("path", ["", "export/csv/", "export/ndjson/", "refresh/"])
def test_invalid_search_finds_nothing(log_in: LogIn, path: str) -> None:
    saga, client = trips.start(), log_in("admin")

    response = client.get(f"{LIST}{path}", {"q": "ORD\x00"})

    assert (response.status_code, response.streaming) == (400, False)
    assert str(saga.pk) not in response.content.decode()
    if path != "refresh/":
        assert "The search contains characters that are not text." in response.content.decode()


@pytest.mark.parametrize(
    "query",
    [
        {"input__contains": '{"order_number": "ORD-1"}'},
        {"id__contains": "01"},
        {"state": "running"},
        {"steps__result__isnull": "0"},
        {"attempts__message__icontains": "a"},
        {"keys__value__icontains": "ORD"},
        {"_to_field": "definition"},
        {"nonsense": "1"},
    ],
)
def test_arbitrary_lookups_are_refused(log_in: LogIn, query: dict[str, str]) -> None:
    trips.start()

    assert log_in("admin").get(LIST, query).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        {"o": "3"}, {"o": "-1.2"}, {"o": "99"}, {"o": "x"}, {"all": ""}, {"p": ""},
        {"_facets": "1"}, {"_popup": "1"}, {"q": "%"}, {"q": "_" * 300}, {"q": HOSTILE}, {"q": "\ufffd"},
        {"q": "'; DROP TABLE sagas_saga; --"},
    ],
)  # fmt: skip
def test_unusual_queries_are_not_errors(log_in: LogIn, query: dict[str, str]) -> None:
    trips.start()

    assert log_in("viewer").get(LIST, query).status_code == 200


def test_order_cannot_be_chosen(log_in: LogIn) -> None:
    first, second = trips.start(), trips.start()

    for order in ("1", "-1", "2.-3"):
        found = log_in("viewer").get(LIST, {"o": order}).context["cl"].result_list
        assert [saga.pk for saga in found] == [second.pk, first.pk]


def test_search_by_business_key(log_in: LogIn) -> None:
    first = trips.start(order="ORD-17", customer="ada")
    second = trips.start(order="ORD-170", customer="bob")
    third = trips.start(order="ada", customer="50%_off")
    client = log_in("viewer")

    for text, expected in {
        "ORD-17": ids(first, second),
        " ORD-170 ": ids(second),
        "ORD-18": set(),
        "ord-17": ids(first, second),
        "ord-18": set(),
        "order:ord-170": ids(second),
        "ada": ids(first, third),
        "customer:ada": ids(first),
        "order=ada": ids(third),
        "order:ORD-17": ids(first, second),
        "50%": ids(third),
        "5_%": set(),
    }.items():
        assert listed(client.get(LIST, {"q": text})) == expected, text


def test_search_by_id(log_in: LogIn) -> None:
    first, second = trips.start(), trips.start()
    client, whole = log_in("viewer"), str(first.pk)

    for text in (whole, whole.upper(), whole.replace("-", ""), f" {whole} "):
        assert listed(client.get(LIST, {"q": text})) == ids(first)
    shared = next(size for size in range(36, 0, -1) if str(second.pk).startswith(whole[:size]))
    assert listed(client.get(LIST, {"q": whole[:shared]})) == ids(first, second)
    assert listed(client.get(LIST, {"q": whole[: shared + 2]})) <= ids(first)
    assert listed(client.get(LIST, {"q": whole[:-1] + ("0" if whole[-1] != "0" else "1")})) == set()


@pytest.mark.parametrize("text", ["", "abc", "ORD-1", "g" * 8, "0" * 33, "0" * 7, "0102-0304"])
def test_text_that_cannot_be_an_id_is_not_searched_as_one(text: str) -> None:
    assert (searching.bound_ids(text) is not None) is (text == "0102-0304")


def fill_tables(closed: int) -> None:
    """Write closed sagas with two steps and a key each, and analyze the tables."""
    statements = (
        """INSERT INTO sagas_saga (id, definition, version, digest, state, attention, input, revision, history_count,
           abort_actor, abort_reason, started_by, traceparent, queue, created_at, updated_at, closed_at)
           SELECT gen_random_uuid(), 'trip', 3, '', 'completed', '[]', '{}', 1, 1, '', '', '', '', '',
           now() - n * interval '1 second', now(), now() FROM generate_series(1, %s) AS n""",
        """INSERT INTO sagas_sagastep (saga_id, name, position, rank, kind, state, action_attempts,
           compensation_attempts, budget_used, epoch, is_assumed, last_error)
           SELECT id, 'step' || n, n, n, 'compensatable', 'succeeded', 1, 0, 0, 0, false, ''
           FROM sagas_saga, generate_series(0, 1) AS n WHERE closed_at IS NOT NULL""",
        """INSERT INTO sagas_sagakey (saga_id, name, value)
           SELECT id, 'order', 'OLD-' || row_number() OVER () FROM sagas_saga WHERE closed_at IS NOT NULL""",
        "ANALYZE sagas_saga, sagas_sagastep, sagas_sagakey",
    )
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, [closed] if "%s" in statement else None)


def test_search_and_filters_never_scan_a_whole_table() -> None:
    fill_tables(20_000)
    saga = trips.start(order="ORD-17")
    for name in ("held_unknown", "paused", "waiting_for_retry", "compensation_failing"):
        trips.MAKERS[name]()
    newest = Saga.objects.order_by("-created_at", "-id")
    queries = {state.value: filter_by_display(newest, state) for state in DisplayState}
    queries |= {reason: filter_by_reason(newest, reason) for reason in REASON_CODES}
    queries |= {
        text: search_sagas(newest, text) for text in ("ORD-17", "order:ORD-17", "OLD-", str(saga.pk), str(saga.pk)[:13])
    }
    queries |= {text: search_sagas(newest, text) for text in ("ord-17", "order:ord-17", f"{saga.pk}:pay")}
    queries |= {"needs a person": newest.filter(needs_operator()), "nothing": newest}
    queries["needs a person, of many"] = search_sagas(newest.filter(needs_operator()), "OLD-")

    for name, query in queries.items():
        for plan in (query[:50].explain(), query.order_by()[:1001].explain()):
            read_whole = name in ("completed", "OLD-", "nothing") and "Limit" in plan
            assert "Seq Scan on sagas_" not in plan or read_whole, f"{name}\n{plan}"
    with CaptureQueriesContext(connection) as captured:
        assert search_sagas(newest, "ORD-17").get().pk == saga.pk
    search = captured[0]["sql"]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {search}")
        assert "saga_key_prefix" in str(cursor.fetchall())


def test_count_stops_at_its_cap(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_COUNT", 3)
    client = log_in("viewer")
    for _ in range(3):
        trips.start()
    exact = client.get(LIST)
    assert "3 sagas" in exact.content.decode()
    trips.start()
    capped = client.get(LIST)

    assert (capped.context["cl"].result_count, capped.context["cl"].paginator.is_capped) == (3, True)
    assert "More than 3 sagas: filter or search to see the others." in capped.content.decode()
    with CaptureQueriesContext(connection) as queries:
        client.get(LIST)
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert len(counts) == 1
    assert "LIMIT 4" in counts[0]


def test_pages_can_be_browsed(log_in: LogIn) -> None:
    made = [trips.start() for _ in range(51)]
    client = log_in("viewer")

    first, second = listed(client.get(LIST)), listed(client.get(LIST, {"p": "2"}))

    assert (len(first), second) == (50, ids(made[0]))
    for number in ("3", "-1", "99999"):
        response = client.get(LIST, {"p": number})
        assert response.status_code == 400
        assert f"The list has no page {number}." in response.content.decode()


def test_errors_in_the_list_need_their_own_permission(log_in: LogIn) -> None:
    trips.make_compensation_failing()
    client = log_in("viewer")

    text = client.get(LIST).content.decode()
    assert "RuntimeError" in text
    assert "The airline is closed." not in text

    User.objects.get(username="viewer").user_permissions.add(Permission.objects.get(codename="view_error"))
    assert "The airline is closed." in client.get(LIST).content.decode()


def test_hostile_text_is_escaped(log_in: LogIn) -> None:
    saga = trips.make_refused("book_hotel", trips.RetryLater(HOSTILE, after=3000), order=HOSTILE)

    for url in (LIST, f"{LIST}?q=%3Cscript%3E", page_of(saga)):
        text = log_in("admin").get(url).content.decode()
        assert "<script>alert" not in text
        assert "{{ 7|add:7 }}" in text or "q=" in url
        assert " 14'" not in unescape(text)


def test_engines_overdue_matches_the_row(log_in: LogIn) -> None:
    trips.make_overdue()

    assert "overdue" in log_in("viewer").get(LIST).content.decode().split("<tbody>")[1]
