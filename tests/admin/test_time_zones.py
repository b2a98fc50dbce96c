"""Time zones: UTC is shown as UTC whatever zones project and database use, also in the repeated hour."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command

from sagas import clock
from sagas.admin.ui.formatting import show_moment
from sagas.models import Saga, SagaBarrier, SagaBulk
from sagas.moments import in_utc
from sagas.monitoring import doctor
from sagas.operators.audit import access_log
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.times import describe_moment
from sagas.operators.queries.listing import list_sagas
from sagas.operators.queries.saga_filter import SagaFilter
from sagas.testing import drain, find_violations
from sagas.worker import sweeper

from . import trips
from .bulks import freeze_rows, run, url_of
from .crawling import crawl, read_html
from .pages import LIST, REASON, LogIn, action_of, form_of, page_of, text_of
from .time_zones import PROJECTS

pytestmark = pytest.mark.django_db

WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)?(?: UTC|Z|([+-]\d\d:\d\d))")
# 25 October 2026, 00:10 and 01:10 UTC: 02:10 and once more 02:10 in Berlin.
TWICE = (datetime(2026, 10, 25, 0, 10, tzinfo=UTC), datetime(2026, 10, 25, 1, 10, tzinfo=UTC))


def read_timestamps(text: str) -> set[datetime]:
    """Return every timestamp of a text that names its zone."""
    return {
        datetime.fromisoformat(f"{day}T{time}{zone or '+00:00'}").astimezone(UTC)
        for day, time, zone in WRITTEN.findall(text)
    }


@pytest.fixture
def saga(log_in: LogIn) -> Saga:
    """Create most kinds of sagas, a bulk, a worker, an access record and a barrier; return one saga."""
    made = {name: trips.MAKERS[name]() for name in ("waiting_for_retry", "running", "held_unknown", "compensated")}
    saga, client = made["waiting_for_retry"], log_in("admin")
    Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at + timedelta(hours=5))
    found = freeze_rows(client, made["held_unknown"])
    client.post(url_of(found, "start"), {"reason": REASON})
    run(found)
    freeze_rows(client, saga, operation=Operation.RETRY)
    sweeper.beat(queues=["sagas"], found=0)
    assert access_log.log_access("ada", access_log.What.PAGE, saga_id=saga.pk)
    SagaBarrier.objects.create(key=f"{saga.pk}:pay", direction="action", state="done", created_at=saga.created_at)
    return saga


def list_pages(saga: Saga) -> list[str]:
    """Return the pages that print timestamps."""
    others = Saga.objects.order_by("created_at")
    pages = [page_of(other, tab) for other in others for tab in ("graph", "timeline", "steps", "history")]
    actions = [action_of(other, operation) for other in others for operation in (Operation.RETRY, Operation.PAUSE)]
    names = ("sagabulk", "sagaworker", "sagaaccess", "sagabarrier")
    lists = [LIST, *(f"/admin/sagas/{name}/" for name in names), f"{LIST}log/", f"{LIST}failures/", "/admin/sagas/"]
    lists += [f"{LIST}definitions/", f"{LIST}definitions/trip/3/"]
    return [*pages, *actions, *lists, *(url_of(found) for found in SagaBulk.objects.all()), f"{LIST}refresh/"]


@pytest.mark.parametrize("project", PROJECTS)
def test_pages_print_the_same_times_in_every_zone(log_in: LogIn, saga: Saga, project: str) -> None:
    client, pages = log_in("admin"), list_pages(saga)
    elsewhere = {url: read_timestamps(read_html(client.get(url))) for url in pages}
    with PROJECTS[project]():
        answers = {url: client.get(url) for url in pages}
        found = {url: read_timestamps(read_html(answer)) for url, answer in answers.items()}
        now = datetime.now(UTC)

    assert {url: answer.status_code for url, answer in answers.items() if answer.status_code not in (200, 409)} == {}
    known = set.union(*elsewhere.values())
    assert len(known) > 5
    strange = {
        url: wrong
        for url, moments in found.items()
        if (wrong := {moment for moment in moments - known if abs(moment - now) > timedelta(minutes=5)})
    }
    assert strange == {}
    assert {url for url in pages if elsewhere[url] and not found[url]} == set()


@pytest.mark.parametrize("project", PROJECTS)
def test_downloads_and_commands_print_the_same_times_in_every_zone(
    log_in: LogIn, saga: Saga, project: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = log_in("admin")

    def read_all() -> list[set[Any]]:
        urls = [f"{LIST}export/csv/", f"{LIST}export/ndjson/", f"{LIST}{saga.pk}/bundle/"]
        found: list[set[Any]] = [read_timestamps(client.get(url).getvalue().decode()) for url in urls]
        for command in (["saga_show", str(saga.pk)], ["saga_list", "--wide"], ["saga_list", "--json"]):
            call_command(*command)
            found.append(set(re.findall(r"\d\d:\d\d:\d\d", capsys.readouterr().out)))
        return found

    elsewhere = read_all()
    with PROJECTS[project]():
        assert read_all() == elsewhere
    assert min(len(moments) for moments in elsewhere) > 0


@pytest.mark.parametrize("project", PROJECTS)
def test_engine_works_in_every_zone(log_in: LogIn, project: str) -> None:
    client = log_in("admin")
    with PROJECTS[project]():
        made = {name: maker() for name, maker in trips.MAKERS.items()}
        found = drain(trips.start())
        saga = made["waiting_for_retry"]
        answers = [client.post(action_of(saga, one), form_of(saga)) for one in (Operation.PAUSE, Operation.RESUME)]
        bulk = freeze_rows(client, saga)
        client.post(url_of(bulk, "start"), {"reason": REASON})
        state = run(bulk).state
        with clock.restored():
            clock.move(timedelta(hours=2))
            swept = sweeper.run_due(limit=50)
        listed = list_sagas(SagaFilter(needs="any"))
        now = clock.read_now("default")
        examined = [finding for finding in doctor.examine() if finding.name == "clock"]
        pages = crawl(client, "/admin/sagas/")

    assert [finding.level for finding in examined] == ["ok"]
    assert (found.state, state, swept > 3) == ("completed", "finished", True)
    assert [answer.status_code for answer in answers] == [302, 302]
    assert {url: status for url, (status, _) in pages.items() if status not in (200, 302)} == {}
    for one in [*listed, *Saga.objects.all()]:
        assert abs(one.created_at - now) < timedelta(minutes=10)
        assert one.created_at.tzinfo is UTC
    assert {pk: found for pk in Saga.objects.values_list("pk", flat=True) if (found := find_violations(pk))} == {}


def set_start(saga: Saga, moment: datetime) -> None:
    Saga.objects.filter(pk=saga.pk).update(created_at=moment)


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("moment", TWICE, ids=["first", "second"])
def test_repeated_hour_is_not_confused(log_in: LogIn, moment: datetime, project: str) -> None:
    client, saga = log_in("admin"), trips.start()
    with PROJECTS[project]():
        set_start(saga, moment)
        page = text_of(client.get(page_of(saga)))
        window = {"since": f"{moment:%Y-%m-%dT%H:%M:%S}", "until": f"{moment + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}"}
        found = client.get(LIST, window).context["cl"].result_list
        exported = client.get(f"{LIST}export/csv/", window).getvalue().decode()

    assert Saga.objects.get(pk=saga.pk).created_at == moment
    assert f"{moment:%Y-%m-%d %H:%M:%S} UTC" in page
    assert [one.pk for one in found] == [saga.pk]
    assert moment.isoformat() in exported


def test_naive_time_is_in_the_projects_zone() -> None:
    with PROJECTS["USE_TZ off"]():
        first, second = (datetime(2026, 10, 25, 2, 10, fold=fold) for fold in (0, 1))  # noqa: DTZ001 - that is the point
        assert (in_utc(first), in_utc(second)) == TWICE
        assert describe_moment(second) == "2026-10-25 01:10:00 UTC"
        assert show_moment(first, TWICE[0]).iso == "2026-10-25T00:10:00+00:00"
    for moment in TWICE:
        assert in_utc(moment) is moment
