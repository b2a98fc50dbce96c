"""URLs and bodies of operations over HTTP."""

from typing import Any

from orders.models import Order
from sagas.models import Saga
from sagas.operators.preconditions import Operation
from tests.admin.pages import EVIDENCE, REASON

from .conftest import Shopper

SAGAS = "/api/v1/sagas/"
BULKS = f"{SAGAS}bulks/"


def find_ids(customer: Shopper, number: str) -> dict[str, str]:
    """Return the ids of an order's saga and of a bulk of it, frozen now, as ``saga_id`` and ``bulk_id``."""
    saga_id = str(Order.objects.get(number=number).saga_id)
    frozen = customer.post(BULKS, {"operation": "pause", "sagas": [saga_id]})
    assert frozen.status_code == 201, frozen.content
    return {"saga_id": saga_id, "bulk_id": frozen["Location"].rstrip("/").rpartition("/")[2]}


def url_of(saga: Saga, operation: Operation | None = None) -> str:
    url = f"{SAGAS}{saga.pk}/"
    return f"{url}actions/{operation.value.replace('_', '-')}/" if operation else url


def body_of(saga: Saga, operation: Operation = Operation.PAUSE, step: str | None = None, **changes: Any) -> Any:
    body = {"reason": REASON, "revision": Saga.objects.get(pk=saga.pk).revision}
    if step:
        body["step"] = step
    if operation.value.startswith("mark"):
        body["evidence"] = EVIDENCE
    return {**body, **changes}
