"""Helpers that freeze and run bulks through the console's list."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.test import Client

from sagas import clock
from sagas.models import Saga, SagaBulk
from sagas.operators.bulk import freezing, runner
from sagas.operators.preconditions import Operation

from .pages import LIST, text_of

BULKS = "/admin/sagas/sagabulk/"
NEW = f"{BULKS}new/"
PAUSE = Operation.PAUSE


def url_of(found: SagaBulk, what: str = "change") -> str:
    return f"{BULKS}{found.pk}/{what}/"


def select_rows(client: Client, *sagas: Saga, operation: Operation = PAUSE, **more: Any) -> Any:
    ids = [str(saga.pk) for saga in sagas]
    return client.post(LIST, {"action": operation.value, "index": "0", "_selected_action": ids, **more})


def freeze_rows(client: Client, *sagas: Saga, operation: Operation = PAUSE) -> SagaBulk:
    response = select_rows(client, *sagas, operation=operation)
    found = SagaBulk.objects.latest("frozen_at")
    assert (response.status_code, response["Location"]) == (302, url_of(found))
    return found


def freeze_matching(client: Client, operation: Operation = PAUSE, **filter: str) -> SagaBulk:
    response = client.post(f"{NEW}?{urlencode(filter)}", {"operation": operation.value})
    assert response.status_code == 302, text_of(response)
    return SagaBulk.objects.get(pk=response["Location"].split("/")[4])


def run(found: SagaBulk) -> SagaBulk:
    with clock.restored():
        clock.move(timedelta(seconds=10))
        runner.advance(found.pk)
    return freezing.find_bulk(found.pk)


def frozen_ids(found: SagaBulk) -> list[Any]:
    return list(found.items.order_by("position").values_list("saga_id", flat=True))
