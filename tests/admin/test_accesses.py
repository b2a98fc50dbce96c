"""Access log: payloads need a permission, each access is logged first, and the log is immutable."""

import logging
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from sagas.core.states import Direction
from sagas.models import Saga, SagaAccess, SagaBarrier
from sagas.operators.actor import Actor
from sagas.operators.audit import access_log

from . import trips
from .pages import LIST, LogIn, page_of

pytestmark = pytest.mark.django_db

SECRET_WORDS = ("ORD-PRIVATE", "A private error.")


def make_saga() -> Saga:
    """Return a saga whose input, result and error are confidential."""
    saga = trips.start(order="ORD-PUBLIC")
    Saga.objects.filter(pk=saga.pk).update(input={"order_number": "ORD-PRIVATE"})
    with trips.faults() as fault:
        fault.refuse("book_flight", trips.RetryLater("A private error.", after=3000))
        trips.look(saga.pk)
    return trips.read(saga.pk)


def rows() -> list[tuple[str, str, Any, str]]:
    return list(SagaAccess.objects.order_by("id").values_list("actor", "what", "saga_id", "detail"))


def make_barrier(saga: Saga, result: Any) -> str:
    row = SagaBarrier.objects.create(
        key=f"{saga.pk}:book_hotel", direction=Direction.ACTION.value, state="done", result=result,
        created_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    return f"/admin/sagas/sagabarrier/{row.pk}/change/"


def read(client: Client, url: str) -> tuple[int, str]:
    response = client.get(url)
    body = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]
    return response.status_code, body.decode()


def find_urls(saga: Saga) -> dict[str, str]:
    """Return every page that can show payloads."""
    return {
        "page": page_of(saga),
        "history": f"{page_of(saga)}?tab=history",
        "steps": f"{page_of(saga)}?tab=steps",
        "value": f"{LIST}{saga.pk}/payload/?of=input",
        "result": f"{LIST}{saga.pk}/payload/?of=result&step=book_hotel",
        "barrier": make_barrier(saga, {"note": "A private error."}),
        "export": reverse("admin:sagas_saga_export", args=["ndjson"]),
        "bundle": reverse("admin:sagas_saga_bundle", args=[saga.pk]),
    }


def test_without_the_permission_no_payload_is_shown_and_nothing_logged(log_in: LogIn) -> None:
    client = log_in("viewer")
    saga = make_saga()

    for name, url in find_urls(saga).items():
        status, text = read(client, url)
        assert status in (200, 403), name
        assert not any(word in text for word in SECRET_WORDS), name
    assert rows() == []


def test_each_access_is_logged_with_user_object_and_path(log_in: LogIn, caplog: pytest.LogCaptureFixture) -> None:
    client = log_in("supervisor")
    saga = make_saga()

    with caplog.at_level(logging.INFO, "sagas.operators.audit.access_log"):
        found = {name: read(client, url) for name, url in find_urls(saga).items()}

    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(found, 200)
    for name in ("value", "barrier", "export", "bundle"):
        assert any(word in found[name][1] for word in SECRET_WORDS), name
    assert rows() == [
        ("supervisor", "page", saga.pk, ""),
        ("supervisor", "value", saga.pk, "input"),
        ("supervisor", "value", saga.pk, "result-book_hotel"),
        ("supervisor", "barrier", saga.pk, f"{saga.pk}:book_hotel"),
        ("supervisor", "export", None, ""),
        ("supervisor", "bundle", saga.pk, ""),
    ]
    assert {record.getMessage() for record in caplog.records} == {"Payloads seen."}
    assert len(caplog.records) == 8


def test_access_to_error_texts_alone_is_logged_as_such(log_in: LogIn) -> None:
    client = log_in("operator")
    saga = make_saga()

    found = {name: read(client, url) for name, url in find_urls(saga).items()}

    assert {name for name, (status, _) in found.items() if status == 403} == {"value", "result"}
    assert not any("ORD-PRIVATE" in text for _, text in found.values())
    assert {name for name, (_, text) in found.items() if "A private error." in text} == {
        "page", "history", "steps", "export", "bundle",
    }  # fmt: skip
    assert rows() == [
        ("operator", "page", saga.pk, "error texts only"),
        ("operator", "export", None, "error texts only"),
        ("operator", "bundle", saga.pk, "error texts only"),
    ]


def test_each_list_with_error_texts_is_one_access(log_in: LogIn) -> None:
    trips.make_completed()
    url = "/api/v1/sagas/"
    for person in ("viewer", "supervisor"):
        assert log_in(person).get(url).status_code == 200
    call_command("saga_list", json=True, stdout=StringIO())
    assert rows() == []  # there is no error to see

    saga = trips.make_compensation_failing()
    assert "The airline is closed." not in log_in("viewer").get(url).content.decode()
    assert rows() == []
    client, out = log_in("supervisor"), StringIO()
    for _ in range(2):
        assert "The airline is closed." in client.get(url, {"definition": "trip"}).content.decode()
    call_command("saga_list", json=True, stdout=out)

    assert "The airline is closed." in out.getvalue()
    assert rows() == [
        ("supervisor", "list", None, "definition=trip"),
        ("supervisor", "list", None, "definition=trip"),
        (Actor.of_command_line().name, "list", None, "saga_list"),
    ]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sagas_sagaaccess ADD CONSTRAINT closed CHECK (actor = '') NOT VALID")
    answer = client.get(url)
    assert (answer.status_code, answer.json()["results"][0]["id"]) == (200, str(saga.pk))
    assert "The airline is closed." not in answer.content.decode()


def test_refreshing_page_is_one_access_per_interval(log_in: LogIn) -> None:
    client, other, saga = log_in("supervisor"), log_in("admin"), make_saga()
    for _ in range(3):
        client.get(page_of(saga))
        other.get(page_of(saga))
    assert rows() == [("supervisor", "page", saga.pk, ""), ("admin", "page", saga.pk, "")]

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sagas_sagaaccess DISABLE TRIGGER USER")
        cursor.execute("UPDATE sagas_sagaaccess SET at = at - interval '11 minutes'")
        cursor.execute("ALTER TABLE sagas_sagaaccess ENABLE TRIGGER USER")
    client.get(page_of(saga))
    assert len(rows()) == 3


def test_every_download_is_logged(log_in: LogIn) -> None:
    client, saga = log_in("supervisor"), make_saga()
    for _ in range(2):
        client.get(f"{LIST}{saga.pk}/payload/?of=input")

    assert rows() == [("supervisor", "value", saga.pk, "input")] * 2


@pytest.mark.parametrize("person", ["operator", "supervisor"])
def test_nothing_is_shown_if_the_access_cannot_be_logged(log_in: LogIn, person: str) -> None:
    client, saga = log_in(person), make_saga()
    urls = find_urls(saga)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sagas_sagaaccess ADD CONSTRAINT closed CHECK (actor = '') NOT VALID")

    for name, url in urls.items():
        status, text = read(client, url)
        is_payload = name in ("value", "result") or (name == "barrier" and person == "supervisor")
        assert status == (403 if is_payload else 200), name
        assert not any(word in text for word in SECRET_WORDS), name
    assert rows() == []


@pytest.mark.parametrize("statement", ["UPDATE sagas_sagaaccess SET actor = 'x'", "DELETE FROM sagas_sagaaccess"])
def test_access_records_are_immutable(statement: str) -> None:
    access_log.log_access("ada", access_log.What.PAGE, saga_id=trips.start().pk)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert len(rows()) == 1


def test_access_records_outlive_their_sagas_until_they_expire(log_in: LogIn) -> None:
    saga = trips.make_completed()
    access_log.log_access("ada", access_log.What.PAGE, saga_id=saga.pk)
    with override_settings(SAGAS={"WAKEUP": "none", "ACCESS_RETENTION": timedelta(hours=1)}):
        assert access_log.delete_expired_accesses() == 0
        assert len(rows()) == 1
    with override_settings(SAGAS={"WAKEUP": "none", "ACCESS_RETENTION": timedelta(microseconds=1)}):
        assert access_log.delete_expired_accesses() == 1
    assert rows() == []


def test_access_by_command_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    saga = make_saga()
    call_command("saga_show", str(saga.pk))

    assert "A private error." in capsys.readouterr().out
    assert rows() == [(Actor.of_command_line().name, "transcript", saga.pk, "")]


def test_secret_in_a_query_is_not_logged(log_in: LogIn) -> None:
    make_saga()
    access_log.log_access("ada", access_log.What.EXPORT, detail="q=4111111111111111&token=abc")

    assert rows()[-1][3] == "q=[redacted: card number]&token=[redacted: secret]"


def test_secret_in_an_export_url_is_not_logged(log_in: LogIn) -> None:
    make_saga()
    answer = log_in("admin").get("/admin/sagas/saga/export/csv/?q=4111%201111+1111%201111")
    b"".join(answer.streaming_content)

    assert (answer.status_code, rows()[-1][3]) == (200, "q=[redacted: card number]")


@pytest.mark.parametrize("person", ["viewer", "operator", "staff"])
def test_access_log_needs_its_permission(log_in: LogIn, person: str) -> None:
    assert log_in(person).get("/admin/sagas/sagaaccess/").status_code == 403


@pytest.mark.parametrize("person", ["supervisor", "admin"])
def test_access_log_is_searchable_and_read_only(log_in: LogIn, person: str) -> None:
    saga, other = trips.start(), trips.start()
    access_log.log_access("ada", access_log.What.PAGE, saga_id=saga.pk)
    access_log.log_access("bob", access_log.What.EXPORT, detail="<script>alert(1)</script>")
    client = log_in(person)

    def listed(query: str) -> list[str]:
        text = client.get(f"/admin/sagas/sagaaccess/?{query}").content.decode()
        assert "<script>alert" not in text
        return [name for name in ("ada", "bob") if f'<td class="field-who">{name}</td>' in text]

    assert listed("") == ["ada", "bob"]
    assert listed(f"q={saga.pk}") == ["ada"]
    assert listed("q=bob") == ["bob"]
    assert listed(f"q={other.pk}") == []
    assert listed("q='--") == []
    assert listed("q=%00") == []
    pk = SagaAccess.objects.first().pk  # type: ignore[union-attr]
    assert client.post(f"/admin/sagas/sagaaccess/{pk}/change/", {"actor": "x"}).status_code == 403
    assert client.post(f"/admin/sagas/sagaaccess/{pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/sagas/sagaaccess/add/").status_code == 403
    assert len(rows()) == 2


def test_access_log_finds_user_names_of_any_length(log_in: LogIn) -> None:
    name = f"{'x' * 220}@example.com"
    assert access_log.log_access(name, access_log.What.LIST)

    text = log_in("admin").get("/admin/sagas/sagaaccess/", {"q": name}).content.decode()

    assert f'<td class="field-who">{name[:200]}</td>' in text
