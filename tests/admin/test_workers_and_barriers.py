"""Read-only pages of workers and barriers."""

from typing import Any

import pytest
from django.utils import timezone

from sagas.models import SagaBarrier, SagaWorker

from . import trips
from .pages import LogIn, read

pytestmark = pytest.mark.django_db


def test_workers_are_shown(log_in: LogIn) -> None:
    now = timezone.now()
    for name, age in (("here:1", 1), ("gone:2", 3600)):
        SagaWorker.objects.create(
            name=name, host=name[:4], pid=1, queues=["sagas"], started_at=now,
            last_sweep_at=now - trips.timedelta(seconds=age),
        )  # fmt: skip

    text = read(log_in("viewer").get("/admin/sagas/sagaworker/"))

    rows = text.split("<tbody>")[1].split("<tr>")[1:]
    assert ["active" in row for row in rows] == [True, False]
    assert "not seen" in rows[1]
    assert "1 h ago" in rows[1]


def test_barrier_search_needs_the_complete_key(log_in: LogIn) -> None:
    saga, now = trips.start(), timezone.now()
    for key in (f"{saga.pk}:book_hotel", f"{saga.pk}:pay", "other"):
        SagaBarrier.objects.create(key=key, direction="action", state="done", result={"secret": 1}, created_at=now)
    client = log_in("viewer")

    def found(text: str) -> list[str]:
        result = client.get("/admin/sagas/sagabarrier/", {"q": text}).context["cl"].result_list
        return sorted(row.key for row in result)

    assert found(str(saga.pk)) == [f"{saga.pk}:book_hotel", f"{saga.pk}:pay"]
    assert found(f"{saga.pk}:pay") == [f"{saga.pk}:pay"]
    assert found("oth") == []
    assert len(found("")) == 3


@pytest.mark.parametrize("model", [SagaWorker, SagaBarrier])
def test_workers_and_barriers_are_read_only(log_in: LogIn, model: Any) -> None:
    now = timezone.now()
    if model is SagaWorker:
        row = SagaWorker.objects.create(name="a:1", host="a", pid=1, started_at=now, last_sweep_at=now)
    else:
        row = SagaBarrier.objects.create(key="k", direction="action", state="done", result={"s": 1}, created_at=now)
    base, client = f"/admin/sagas/{model._meta.model_name}/", log_in("admin")
    before = model.objects.values().get()

    assert client.get(f"{base}add/").status_code == 403
    assert client.post(f"{base}{row.pk}/change/", {"pid": 7}).status_code == 403
    assert client.post(f"{base}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(base, {"result__isnull": "0"}).status_code in (302, 400)
    assert model.objects.values().get() == before
    assert log_in("staff").get(base).status_code == 403


def test_stored_results_need_the_payload_permission(log_in: LogIn) -> None:
    row = SagaBarrier.objects.create(
        key="k", direction="action", state="done", result={"secret": 1}, created_at=timezone.now()
    )
    url = f"/admin/sagas/sagabarrier/{row.pk}/change/"

    assert "secret" not in read(log_in("viewer").get(url))
    assert "secret" in read(log_in("supervisor").get(url))
