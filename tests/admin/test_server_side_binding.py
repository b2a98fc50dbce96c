"""Server-side binding of parameters: each parameter must have one type."""

from datetime import timedelta

import pytest
from django.db import connections
from django.db.backends.postgresql.base import ServerBindingCursor
from prometheus_client import CollectorRegistry, generate_latest

from sagas import clock
from sagas.models import Saga, SagaAccess
from sagas.monitoring import doctor
from sagas.monitoring.metrics import SagaCollector
from sagas.operators import operations
from sagas.operators.audit import access_log, verification
from sagas.operators.audit.operator_log import LogQuery, read_log
from sagas.operators.bulk import runner
from sagas.operators.preconditions import Operation
from sagas.operators.queries import statistics
from sagas.operators.queries.listing import find_saga, list_sagas
from sagas.operators.queries.saga_filter import SagaFilter
from sagas.retention import purge
from sagas.worker import sweeper

from . import trips
from .bulks import freeze_matching, freeze_rows, run, url_of
from .crawling import crawl
from .pages import LIST, REASON, LogIn, action_of, form_of, page_of, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _bind_on_the_server(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure the connections of this test as OPTIONS["server_side_binding"] does."""
    for connection in connections.all():
        connection.ensure_connection()
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", True)
        monkeypatch.setattr(connection.features, "uses_server_side_binding", True)
        monkeypatch.setattr(connection.connection, "cursor_factory", ServerBindingCursor)


@pytest.fixture
def saga() -> Saga:
    """Create a saga of every kind, and return one that waits."""
    return {name: maker() for name, maker in trips.MAKERS.items()}["waiting_for_retry"]


def test_accesses_are_logged(saga: Saga) -> None:
    for what in access_log.What:
        assert access_log.log_access("ada", what, saga_id=saga.pk, detail="why")
        assert access_log.log_access("ada", what, saga_id=saga.pk, detail="why")
        assert access_log.log_access("ada", what)

    found = list(SagaAccess.objects.filter(saga_id=saga.pk).values_list("what", flat=True))
    taken_along_twice = [what.value for what in access_log.TAKEN_ALONG]
    assert sorted(found) == sorted([*(what.value for what in access_log.What), *taken_along_twice])


def test_every_page_works(log_in: LogIn, saga: Saga) -> None:
    client = log_in("admin")
    found = crawl(client, "/admin/sagas/")

    assert {url: status for url, (status, _) in found.items() if status not in (200, 302)} == {}
    assert len(found) > 60
    steps = text_of(client.get(page_of(saga, "steps")))
    assert "Input of the saga" in steps
    for query in (
        "needs=any",
        "q=ORD",
        f"q={str(saga.pk)[:9]}",
        "q=order:ORD",
        "by=slowest",
        "attempts=2",
        "operated=yes",
    ):
        assert client.get(f"{LIST}?{query}").status_code == 200, query
        assert client.get(f"{LIST}export/csv/?{query}").getvalue().count(b"\n") > 0, query


def test_operations_and_bulks_work(log_in: LogIn, saga: Saga) -> None:
    client = log_in("admin")
    assert client.post(action_of(saga, Operation.PAUSE), form_of(saga)).status_code == 302
    assert client.post(action_of(saga, Operation.RESUME), form_of(saga)).status_code == 302
    bulks = [
        freeze_rows(client, saga),
        freeze_matching(client, needs="any"),
        freeze_matching(client, step="pay", q="ORD", since="2020-01-01"),
    ]
    for found in bulks:
        assert client.post(url_of(found, "start"), {"reason": REASON, "count": str(found.total)}).status_code == 302
    runner.wake_due()

    assert [run(found).state for found in bulks] == ["finished"] * 3
    assert bulks[0].total == 1
    assert (bulks[1].total > 3, bulks[2].total) == (True, 1)


def test_engine_maintenance_works(saga: Saga) -> None:
    operations.pause(saga.pk, actor=trips.BOSS, reason=REASON)
    verified = verification.verify_all(signed_since=None)
    with clock.restored():
        clock.move(timedelta(hours=2))
        swept = sweeper.wake_due(limit=5) + sweeper.run_due(limit=50)
    sweeper.beat(queues=["sagas"], found=1)
    closed = Saga.objects.filter(closed_at__isnull=False).exclude(state="abandoned").count()
    report = purge.clean_up(purge.Scope(closed_before=clock.read_now("default") + timedelta(days=1)))

    assert (verified.is_sound, verified.entries > 20) == (True, True)
    assert swept > 5
    assert (report.sagas, report.is_whole) == (closed, True)
    assert closed > 2


def test_read_queries_work(saga: Saga) -> None:
    assert find_saga(str(saga.pk)[:13]) == saga.pk
    assert len(list_sagas(SagaFilter(needs="any", search="ORD"))) > 3
    assert set(statistics.refresh([*statistics.read_statistics()], timeout="20s")) == set(statistics.read_statistics())
    assert read_log(LogQuery(actor="boss", since=saga.created_at - timedelta(days=1)), with_bulks=True).operations
    registry = CollectorRegistry()
    registry.register(SagaCollector())
    assert b"sagas_open" in generate_latest(registry)
    assert [finding for finding in doctor.examine() if finding.level == "error"] == []
