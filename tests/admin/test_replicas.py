"""Console and API with a read replica: they still show the primary's rows of the engine."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from sagas.admin.saga_list.filters import PARAMETERS
from sagas.admin.ui.list_order import describe_position
from sagas.admin.ui.page_selection import ORCHESTRATION_TABS
from sagas.models import Saga, SagaAttempt, SagaBulk
from sagas.operators.preconditions import Operation
from sagas.worker import sweeper
from tests.replicas import READ_ONLY, PrimaryReplica, opened_replica, reading_from_replica

from . import trips
from .bulks import BULKS, NEW, freeze_matching, freeze_rows, run, url_of
from .pages import LIST, REASON, LogIn, action_of, form_of, page_of, text_of

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

CONSOLE, API = "/admin/sagas/", "/api/v1/sagas/"


@pytest.fixture(scope="module", autouse=True)  # must be defined before pytest-django lists the databases
def _replica(django_db_setup: None) -> Iterator[None]:
    with opened_replica(READ_ONLY):
        yield


@pytest.fixture
def asked(db: None) -> Iterator[list[str]]:
    """Route reads to the replica, and require that none of them is the engine's."""
    with reading_from_replica(PrimaryReplica) as found:
        yield found
    assert found == []


def get(client: Client, address: str) -> str:
    """Open a page, or read a file to the end."""
    response: Any = client.get(address)
    assert response.status_code == 200, f"{address} answered {response.status_code}"
    return b"".join(response.streaming_content).decode() if response.streaming else text_of(response)


def list_filters(saga: Saga) -> dict[str, str]:
    """Return a value for each filter of the list."""
    group = SagaAttempt.objects.exclude(error_group="").values_list("error_group", flat=True)[0]
    chosen = {
        "display": "held", "needs": "any", "definition": "trip:3", "started": "24h", "closed": "no", "step": "pay",
        "attempts": "2", "operated": "no", "group": group, "failing": group, "since": "2020-01-01",
        "until": "2999-01-01", "by": "slowest", "before": describe_position(saga),
    }  # fmt: skip
    assert set(chosen) == PARAMETERS
    return chosen


def test_pages_show_what_the_engines_database_holds(asked: list[str], log_in: LogIn) -> None:
    client = log_in("admin")
    saga, closed = trips.make_waiting_for_retry(), trips.make_completed()
    sweeper.beat(queues=["sagas"], found=0)
    found = freeze_rows(client, saga)

    assert f"{saga.pk}" in get(client, LIST)
    narrowed = [f"{LIST}?{name}={value}" for name, value in list_filters(saga).items()]
    searched = [f"{LIST}?q={text}" for text in (saga.pk, str(saga.pk)[:8], "ORD-", "order:ORD-", f"{saga.pk}:pay")]
    views = [page_of(one, tab.value) for one in (saga, closed) for tab in ORCHESTRATION_TABS]
    files = [
        f"{LIST}export/csv/",
        f"{LIST}export/ndjson/",
        f"{LIST}{saga.pk}/bundle/",
        f"{LIST}{saga.pk}/payload/?of=input",
    ]
    others = [
        f"{LIST}definitions/", f"{LIST}definitions/trip/3/?span=7d",
        CONSOLE, f"{LIST}refresh/", f"{LIST}{saga.pk}/refresh/", f"{LIST}failures/?span=7d", f"{LIST}log/?span=7d",
        f"{LIST}log/?span=7d&verify=on", BULKS, url_of(found), f"{NEW}?display=waiting_for_retry",
        f"{CONSOLE}sagaaccess/", f"{CONSOLE}sagaaccess/?q={saga.pk}", f"{CONSOLE}sagaworker/", f"{CONSOLE}sagabarrier/",
        f"{CONSOLE}sagabarrier/?q={saga.pk}", "/admin/",
        *(action_of(saga, operation) for operation in (Operation.PAUSE, Operation.CANCEL, Operation.RETRY)),
    ]  # fmt: skip
    for address in (*narrowed, *searched, *views, *files, *others):
        get(client, address)


def test_operations_and_bulks_work(asked: list[str], log_in: LogIn) -> None:
    client = log_in("admin")
    saga, *others = (trips.make_waiting_for_retry() for _ in range(3))

    assert client.post(action_of(saga, Operation.PAUSE), form_of(saga)).status_code == 302
    ticked, matching = freeze_rows(client, *others), freeze_matching(client, display="held")
    assert [found.total for found in (ticked, matching)] == [2, 1]
    assert client.post(url_of(ticked, "start"), {"reason": REASON}).status_code == 302
    assert "0 of 2" in get(client, url_of(ticked, "refresh"))
    assert run(ticked).counts["done"] == 2
    shown = get(client, f"{url_of(ticked)}?result=done")
    assert [page_of(other) in shown for other in others] == [True, True]
    assert client.post(url_of(ticked, "stop"), {"reason": ""}).status_code == 302

    assert sorted(Saga.objects.values_list("hold", flat=True)) == ["paused"] * 3


def test_api_reads_and_operates(asked: list[str], log_in: LogIn) -> None:
    client = log_in("admin")
    saga = trips.make_waiting_for_retry()
    act = f"{API}{saga.pk}/actions/pause/"
    post: dict[str, Any] = {"content_type": "application/json"}

    for address in (API, f"{API}?search=ORD-&step=pay", f"{API}{saga.pk}/", act, f"{API}bulks/"):
        get(client, address)
    revision = Saga.objects.get(pk=saga.pk).revision
    assert client.post(act, {"reason": REASON, "revision": revision}, **post).status_code == 200
    frozen = client.post(f"{API}bulks/", {"operation": "resume", "sagas": [str(saga.pk)]}, **post)
    url = frozen["Location"]
    assert client.post(f"{url}start/", {"reason": REASON}, **post).json()["state"] == "running"
    run(SagaBulk.objects.get())
    assert client.get(url).json()["counts"]["done"] == 1
    assert [item["result"] for item in client.get(f"{url}results/").json()["results"]] == ["done"]
    assert client.post(f"{url}stop/", {}, **post).json()["state"] == "finished"
