"""Be the people who operate sagas over HTTP, and write what they send."""

from __future__ import annotations

from typing import Any

from sagas.models import Saga
from sagas.rules import Operation
from tests.admin.pages import EVIDENCE, REASON

SAGAS = "/api/v1/sagas/"
BULKS = f"{SAGAS}bulks/"


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
