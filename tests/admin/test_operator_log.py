"""Operator log: every operation by every user, with signature checks."""

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas.admin.reports import log_page
from sagas.models import Saga, SagaBulk, SagaHistory
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.audit import operator_log
from sagas.operators.audit.operator_log import LogQuery, read_log
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation
from tests.table_owner import as_table_owner

from . import trips
from .pages import HOSTILE, LIST, REASON, LogIn

pytestmark = pytest.mark.django_db

URL = f"{LIST}log/"
ADA, BOB = Actor(name="ada", is_trusted=True), Actor(name="bob (root@host)", is_trusted=True)


def pause(saga: Saga, actor: Actor = ADA, reason: str = REASON) -> Saga:
    operations.pause(saga.pk, actor=actor, reason=reason)
    return saga


def shown(response: Any) -> list[tuple[str, str]]:
    assert response.status_code == 200
    return [(row.actor, row.label) for row in response.context["rows"]]


def test_every_operation_is_listed_completely(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    revision = Saga.objects.get(pk=saga.pk).revision
    operations.mark_succeeded(
        saga.pk, actor=ADA, reason=REASON, step="pay", evidence="Seen at the bank.", revision=revision
    )

    [row] = log_in("viewer").get(URL).context["rows"]

    assert (row.actor, row.label, row.step, row.reason) == ("ada", "Mark succeeded", "pay", REASON)
    assert (row.evidence, row.revision, row.result) == ("Seen at the bank.", revision, "pay is marked as succeeded.")
    assert row.before.startswith("held: outcome unknown; pay held: outcome unknown")
    assert row.after == "running"
    assert row.saga == f"trip {saga.keys.get().value}"
    assert row.url == f"{LIST}{saga.pk}/change/?tab=history"


def test_log_is_newest_first_and_holds_operators_only(log_in: LogIn) -> None:
    one = pause(trips.start())
    pause(trips.start(), BOB)
    operations.resume(one.pk, actor=BOB, reason=REASON)
    trips.make_completed()

    found = shown(log_in("viewer").get(URL))

    assert found == [(BOB.name, "Resume"), (BOB.name, "Pause"), ("ada", "Pause")]


def test_filters(log_in: LogIn) -> None:
    old = pause(trips.start())
    operations.resume(pause(trips.start(), BOB).pk, actor=BOB, reason=REASON)
    with as_table_owner() as cursor:
        cursor.execute("UPDATE sagas_sagahistory SET at = at - interval '3 days' WHERE saga_id = %s", [old.pk])
    client = log_in("viewer")

    assert shown(client.get(URL, {"actor": "ada"})) == [("ada", "Pause")]
    assert shown(client.get(URL, {"actor": f" {BOB.name} ", "action": "pause"})) == [(BOB.name, "Pause")]
    assert shown(client.get(URL, {"span": "24h"})) == [(BOB.name, "Resume"), (BOB.name, "Pause")]
    assert len(shown(client.get(URL, {"span": "any"}))) == 3
    assert shown(client.get(URL, {"actor": "bob"})) == [(BOB.name, "Resume"), (BOB.name, "Pause")]
    for nobody in ("ad", "bob (", "bob (root", "bo", "b%", "(root@host)", "_ob"):
        assert shown(client.get(URL, {"actor": nobody})) == [], nobody
    assert "No matching entries." in client.get(URL, {"actor": "nobody"}).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        {"actor": "\x00"}, {"actor": "x" * 5000}, {"actor": HOSTILE}, {"before": "9" * 15 + "-1"},
        {"before": "1-" + "9" * 18}, {"before": ""}, {"span": ""}, {"action": ""},
    ],
)  # fmt: skip
def test_unusual_queries_are_not_errors(log_in: LogIn, query: dict[str, str]) -> None:
    pause(trips.start())

    response = log_in("viewer").get(URL, query)

    assert response.status_code == 200
    assert "<script>alert" not in response.content.decode()


def test_log_is_paginated(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_log, "PAGE", 2)
    sagas = [pause(trips.start()) for _ in range(5)]
    client, url, found = log_in("viewer"), URL, []

    for _ in range(3):
        response = client.get(url)
        found += [row.url for row in response.context["rows"]]
        url = URL + response.context["next_url"]
        if not response.context["next_url"]:
            break

    assert found == [f"{LIST}{saga.pk}/change/?tab=history" for saga in reversed(sagas)]
    assert "Newest" in response.content.decode()


def test_hostile_reasons_are_shown_as_text(log_in: LogIn) -> None:
    pause(trips.start(order=HOSTILE), Actor(name=HOSTILE, is_trusted=True), f"Because of {HOSTILE}")

    text = log_in("admin").get(URL).content.decode()

    assert "<script>alert" not in text
    assert unescape(text).count(HOSTILE) >= 3


def test_entry_without_the_newer_fields_is_shown(log_in: LogIn) -> None:
    saga = trips.start()
    SagaHistory.objects.create(
        saga=saga, number=2, at=saga.created_at, what="operator_acted", to_state="conjure", actor="merlin", data=[1]
    )

    [row] = log_in("viewer").get(URL).context["rows"]

    assert (row.actor, row.label, row.before, row.result, row.revision) == ("merlin", "conjure", "", "", None)


def test_who_may_look_and_verify(log_in: LogIn) -> None:
    for name, status in (("viewer", 200), ("operator", 200), ("admin", 200), ("staff", 403), ("anonymous", 302)):
        client = log_in(name)
        assert (client.get(URL).status_code, client.post(URL).status_code) == (status, status), name
    assert log_in("viewer").delete(URL).status_code == 405
    strict = log_in("viewer", enforce_csrf_checks=True)
    assert strict.post(URL).status_code == 403


def test_intact_log_verifies(log_in: LogIn) -> None:
    pause(trips.start())
    pause(trips.start(), BOB)

    text = log_in("viewer").post(f"{URL}?span=24h").content.decode()

    assert "All checked entries are intact." in text
    assert "of 2 sagas with operations in this window" in text
    assert "manage.py saga_verify_log checks every saga" in text


def test_changed_entry_is_named(log_in: LogIn) -> None:
    saga = pause(trips.start())
    pause(trips.start())
    entry = SagaHistory.objects.get(saga=saga, what="operator_acted")
    with as_table_owner() as cursor:
        cursor.execute("DELETE FROM sagas_sagahistory WHERE id = %s", [entry.pk])

    text = log_in("viewer").post(URL).content.decode()

    assert "This log was changed in the database." in text
    assert f"Saga {saga.pk}</a>: The saga records 3 entries, 2 exist" in text
    assert "entries are intact." not in text


def test_verification_is_limited(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_page, "MAX_VERIFIED", 1)
    pause(trips.start())
    pause(trips.start())

    assert "There are more: these are the 1 operated on last" in log_in("viewer").post(URL).content.decode()


def confirm_bulk(*sagas: Saga, actor: Actor = ADA, reason: str = REASON) -> SagaBulk:
    frozen = freezing.freeze_selected(Operation.PAUSE, [saga.pk for saga in sagas], actor=actor)
    return freezing.start_bulk(frozen.pk, actor=actor, reason=reason)[0]


def bulks_shown(response: Any) -> list[tuple[str, str, str]]:
    assert response.status_code == 200
    return [(row.actor, row.what, row.reason) for row in response.context["bulk_rows"]]


def test_log_shows_who_confirmed_and_who_stopped_a_bulk(log_in: LogIn) -> None:
    client, found = log_in("viewer"), confirm_bulk(trips.start(), trips.start())
    freezing.stop_bulk(found.pk, actor=BOB, reason=f"Wrong ones {HOSTILE}")
    freezing.freeze_selected(Operation.RETRY, [trips.start().pk], actor=BOB)
    confirmed = ("ada", "Confirmed: Pause, 2 sagas", REASON)
    stopped = (BOB.name, "Stopped: Pause, 2 sagas", f"Wrong ones {HOSTILE}")

    page = client.get(URL)

    assert bulks_shown(page) == [stopped, confirmed]
    assert page.context["bulk_rows"][0].url == f"/admin/sagas/sagabulk/{found.pk}/change/"
    assert "<script>alert" not in page.content.decode()
    assert bulks_shown(client.get(URL, {"actor": "ada"})) == [confirmed]
    assert bulks_shown(client.get(URL, {"actor": BOB.name})) == [stopped]
    assert bulks_shown(client.get(URL, {"actor": "bob"})) == [stopped]
    assert bulks_shown(client.get(URL, {"action": "pause", "span": "any"})) == [stopped, confirmed]
    assert bulks_shown(client.get(URL, {"action": "retry"})) == []
    assert bulks_shown(client.get(URL, {"before": "1-1"})) == []


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_bulks_are_paginated_with_the_other_entries(log_in: LogIn, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(operator_log, "PAGE", size)
    made: list[tuple[str, str]] = []
    moment = trips.start().created_at + timedelta(minutes=1)
    for number in range(4):
        made.append(("operation", f"{LIST}{pause(trips.start()).pk}/change/?tab=history"))
        found = confirm_bulk(trips.start())
        made.append(("bulk", f"/admin/sagas/sagabulk/{found.pk}/change/"))
        if number % 2:
            freezing.stop_bulk(found.pk, actor=BOB)
            made.append(("bulk", f"/admin/sagas/sagabulk/{found.pk}/change/"))
    for found in (confirm_bulk(trips.start()), confirm_bulk(trips.start())):  # at the same time, and after all others
        SagaBulk.objects.filter(pk=found.pk).update(started_at=moment)
        made.append(("bulk", f"/admin/sagas/sagabulk/{found.pk}/change/"))
    client, url, told = log_in("viewer"), URL, list[tuple[str, str]]()

    for _ in range(len(made) + 1):
        context = client.get(url, {"span": "any"} if url == URL else None).context
        page = [("operation", row.url) for row in context["rows"]] + [("bulk", row.url) for row in context["bulk_rows"]]
        assert 1 <= len(page) <= max(size, 2)
        told += page
        url = URL + context["next_url"]
        if not context["next_url"]:
            break

    assert sorted(told) == sorted(made)
    assert set(made[-2:]) <= set(told[: max(size, 2)])


def test_bulk_started_before_the_window_is_listed_by_its_stop(log_in: LogIn) -> None:
    found = confirm_bulk(trips.start())
    freezing.stop_bulk(found.pk, actor=BOB)
    SagaBulk.objects.filter(pk=found.pk).update(started_at=found.started_at - timedelta(days=3))

    assert bulks_shown(log_in("viewer").get(URL, {"span": "24h"})) == [(BOB.name, "Stopped: Pause, 1 sagas", "")]


def test_bulks_are_listed_only_with_permission(log_in: LogIn, django_user_model: Any) -> None:
    confirm_bulk(trips.start())
    client = log_in("viewer")
    only = Permission.objects.filter(content_type__app_label="sagas", codename="view_saga")
    user = django_user_model.objects.get(pk=client.session["_auth_user_id"])
    user.groups.clear()
    user.user_permissions.set(only)

    page = client.get(URL)

    assert bulks_shown(page) == []
    assert "a bulk" not in page.content.decode()


def test_queries_do_not_grow(log_in: LogIn) -> None:
    client = log_in("supervisor")
    pause(trips.start())
    with CaptureQueriesContext(connection) as few:
        client.get(URL)
    for _ in range(5):
        pause(trips.start())
        confirm_bulk(trips.start())
    with CaptureQueriesContext(connection) as many:
        client.get(URL)
    with CaptureQueriesContext(connection) as verifying:
        client.post(URL)

    assert len(few) == len(many) <= 10
    assert len(verifying) <= 17


def test_log_reads_operators_entries_only() -> None:
    saga = pause(trips.start())
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO sagas_sagahistory
               (saga_id, number, at, what, step, from_state, to_state, actor, reason, data)
               SELECT %s, 10 + n, now() - n * interval '1 second',
               CASE WHEN mod(n, 50) = 0 THEN 'operator_acted' ELSE 'saga_started' END, '', '',
               CASE WHEN mod(n, 500) = 0 THEN 'skip' ELSE 'retry' END, 'p' || mod(n, 7), '', '{}'
               FROM generate_series(1, 30000) AS n""",
            [saga.pk],
        )
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ANALYZE sagas_sagahistory")
    since = saga.created_at - timedelta(hours=1)
    for wanted, index in (
        (LogQuery(), "saga_history_operations"),
        (LogQuery(actor="nobody at all"), "saga_history_operations_by"),
        (LogQuery(actor="p0 (root@host)"), "saga_history_operations_by"),
        (LogQuery(operation=Operation.ABANDON), "saga_history_operation"),
        (LogQuery(since=since, before="1700000000000000-5"), "saga_history_operations"),
    ):
        plan = operator_log._select(wanted).order_by("-at", "-pk")[:51].explain()
        assert index in plan, plan
        assert "Seq Scan" not in plan, plan
    assert len(read_log(LogQuery(actor="p0")).operations) == 50
