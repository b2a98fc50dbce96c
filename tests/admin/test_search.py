"""Search: complete for any number of sagas, with and without filters."""

import csv
import re
from io import StringIO
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas.models import Saga, SagaKey
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation
from sagas.operators.queries import search
from sagas.operators.queries.listing import find_saga, list_sagas
from sagas.operators.queries.saga_filter import SagaFilter, parse_filter
from sagas.operators.queries.search import search_sagas

from . import trips
from .pages import LIST, LogIn
from .trips import BOSS

pytestmark = pytest.mark.django_db

CUSTOMER = "CUST-7"


@pytest.fixture
def sagas(monkeypatch: pytest.MonkeyPatch) -> list[Saga]:
    """Return seven sagas of a customer, more than are sorted; the first and the last are paused."""
    monkeypatch.setattr(search, "MAX_KEYS", 3)
    makers = [trips.make_paused, *[trips.start] * 5, trips.make_paused]
    made = [make() for make in makers]
    SagaKey.objects.bulk_create(SagaKey(saga=saga, name="customer", value=CUSTOMER) for saga in made)
    trips.make_paused()  # of no customer
    return made


def ids(*sagas: Saga) -> list[str]:
    return [str(saga.pk) for saga in sagas]


def shown(response: Any) -> list[str]:
    assert response.status_code == 200
    return ids(*response.context["cl"].result_list)


@pytest.mark.parametrize("text", [CUSTOMER, "CUST", "customer:CUST-7", "customer=CUST", f" {CUSTOMER} "])
def test_every_match_is_found_once(sagas: list[Saga], text: str) -> None:
    assert ids(*search_sagas(Saga.objects.order_by("created_at", "pk"), text)) == ids(*sagas)


def test_few_matches_are_found_by_id_only(sagas: list[Saga]) -> None:
    saga = sagas[1]

    assert ids(*search_sagas(Saga.objects.all(), str(saga.pk))) == ids(saga)
    assert ids(*search_sagas(Saga.objects.all(), f"order:{saga.keys.get(name='order').value}")) == ids(saga)


def test_key_that_looks_like_an_id_finds_both(sagas: list[Saga]) -> None:
    beginning = sagas[0].pk.hex[:24]
    SagaKey.objects.filter(saga__in=sagas[1:], name="customer").update(value=f"{beginning}-7")

    found = search_sagas(Saga.objects.order_by("created_at", "pk"), beginning)

    assert set(ids(*sagas)) <= set(ids(*found))
    assert found.count() == len(set(found)) <= 8


@pytest.mark.parametrize("ending", [":pay", ":pay:compensate:0", ":"])
def test_step_key_finds_its_saga(log_in: LogIn, sagas: list[Saga], ending: str) -> None:
    text = f"{sagas[1].pk}{ending}"

    assert ids(*search_sagas(Saga.objects.all(), text)) == ids(sagas[1])
    assert shown(log_in("viewer").get(LIST, {"q": text})) == ids(sagas[1])
    assert find_saga(text) == sagas[1].pk
    assert search_sagas(Saga.objects.all(), f"{str(sagas[1].pk)[:-1]}{ending}").count() == 0


@pytest.mark.parametrize("text", ["cust-7", "Cust", "customer:cust-7", "customer=Cust"])
def test_search_ignores_case(sagas: list[Saga], text: str) -> None:
    assert ids(*search_sagas(Saga.objects.order_by("created_at", "pk"), text)) == ids(*sagas)
    assert list_sagas(SagaFilter(search="cust-8")) == []


def test_exact_case_matches_are_preferred(sagas: list[Saga]) -> None:
    SagaKey.objects.filter(saga=sagas[2], name="customer").update(value="cust-7")

    assert ids(*search_sagas(Saga.objects.all(), "cust-7")) == ids(sagas[2])
    assert find_saga("cust-7", by_key=True) == sagas[2].pk
    SagaKey.objects.filter(saga=sagas[3], name="customer").update(value="CUST-9")
    assert find_saga("cust-9", by_key=True) == sagas[3].pk


def test_blank_search_finds_nothing(sagas: list[Saga]) -> None:
    assert search_sagas(Saga.objects.all(), " ").count() == 0
    assert list_sagas(SagaFilter(search=" ")) == []


def test_list_and_export_filter_all_matches(log_in: LogIn, sagas: list[Saga]) -> None:
    client, query = log_in("viewer"), {"q": CUSTOMER, "needs": "any"}

    assert shown(client.get(LIST, query)) == ids(sagas[-1], sagas[0])
    assert shown(client.get(LIST, {"q": CUSTOMER})) == ids(*reversed(sagas))
    lines = b"".join(client.get(f"{LIST}export/csv/", query).streaming_content).decode()
    assert [row["id"] for row in csv.DictReader(StringIO(lines, newline=""))] == ids(sagas[-1], sagas[0])


def test_blank_search_of_the_list_does_not_filter(log_in: LogIn, sagas: list[Saga]) -> None:
    assert len(shown(log_in("viewer").get(LIST, {"q": "  "}))) == len(sagas) + 1


def test_api_filters_all_matches(sagas: list[Saga]) -> None:
    matching = parse_filter({"search": CUSTOMER, "needs": "any"}).select()
    wanted = SagaFilter(search=CUSTOMER, needs="any")

    assert ids(*matching.order_by("created_at")) == ids(sagas[0], sagas[-1])
    assert ids(*wanted.select()) == [str(saga.id) for saga in list_sagas(wanted)] == ids(sagas[-1], sagas[0])


def test_bulk_freezes_all_matches(sagas: list[Saga]) -> None:
    wanted = parse_filter({"search": CUSTOMER})

    frozen = freezing.freeze_matching(
        Operation.PAUSE, wanted.select(), actor=BOSS, filter=wanted.as_dict(), words=wanted.describe()
    )

    assert frozen.total == len(sagas)
    assert list(frozen.items.order_by("position").values_list("saga_id", flat=True)) == [saga.pk for saga in sagas]


def test_broad_search_is_limited_to_the_newest_and_says_so(
    log_in: LogIn, sagas: list[Saga], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_LOOKED_THROUGH", 4)
    client = log_in("viewer")
    newest = Saga.objects.order_by("-created_at", "-id")[:4]
    found = [*newest]

    response = client.get(LIST, {"q": CUSTOMER})

    assert shown(response) == ids(*found[1:])  # the newest one matches no customer
    back = response.context["cl"].searched_back
    assert "business keys begin with this text" in response.content.decode()
    assert f"back to {back['at']}" in response.content.decode()
    older = client.get(LIST + back["url"])
    assert shown(older) == ids(*reversed(sagas[:4]))
    assert older.context["cl"].searched_back is None
    assert "business keys begin with this text" not in older.content.decode()


def test_broad_search_respects_other_filters(log_in: LogIn, sagas: list[Saga], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_LOOKED_THROUGH", 4)
    client = log_in("viewer")

    for query in ({"needs": "any"}, {"display": "held"}, {"needs": "any", "by": "longest"}):
        response = client.get(LIST, {"q": CUSTOMER, **query})
        assert set(shown(response)) == set(ids(sagas[-1], sagas[0])), query
        assert response.context["cl"].searched_back is None
    slowest = client.get(LIST, {"q": CUSTOMER, "by": "longest"})
    assert set(shown(slowest)) == set(ids(*sagas[4:]))
    assert slowest.context["cl"].searched_back["url"] == ""


def test_exports_and_bulks_of_a_broad_search_are_complete(
    log_in: LogIn, sagas: list[Saga], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_LOOKED_THROUGH", 2)
    client = log_in("supervisor")

    lines = b"".join(client.get(f"{LIST}export/csv/", {"q": CUSTOMER}).streaming_content).decode()
    bulk_page = client.get(f"/admin/sagas/sagabulk/new/?q={CUSTOMER}")

    assert [row["id"] for row in csv.DictReader(StringIO(lines, newline=""))] == ids(*reversed(sagas))
    assert bulk_page.context["count"] == len(sagas)


def test_key_names_restrict_a_common_prefix(sagas: list[Saga], monkeypatch: pytest.MonkeyPatch) -> None:
    SagaKey.objects.create(saga=sagas[0], name="friend", value=CUSTOMER)

    assert ids(*search_sagas(Saga.objects.all(), "friend:CUST")) == ids(sagas[0])
    assert ids(*search_sagas(Saga.objects.all(), "friend:cust")) == ids(sagas[0])
    assert search_sagas(Saga.objects.all(), "payment:CUST").count() == 0
    monkeypatch.setattr(search, "MAX_KEYS", 100)
    assert ids(*search_sagas(Saga.objects.all(), "friend:CUST")) == ids(sagas[0])
    assert search_sagas(Saga.objects.all(), "payment:CUST").count() == 0


def test_search_for_the_beginning_of_an_id_needs_at_most_ten_queries(log_in: LogIn) -> None:
    saga = trips.make_waiting_for_retry()
    # Letters have two spellings, both of which may begin a business key.
    beginning = next(str(saga.pk)[:length] for length in range(8, 37) if re.search("[a-f]", str(saga.pk)[:length]))
    client = log_in("supervisor")
    client.get(LIST)

    with CaptureQueriesContext(connection) as asked:
        response = client.get(LIST, {"q": beginning})

    assert str(saga.pk) in response.content.decode()
    assert len(asked.captured_queries) <= 10
