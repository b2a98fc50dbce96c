"""Form data for the page of every operation, each on a saga that allows it."""

from typing import Any

from sagas.models import Saga
from sagas.operators.preconditions import Operation

from . import trips
from .pages import EVIDENCE, form_of

WHERE: dict[Operation, tuple[str, str | None]] = {
    Operation.RETRY: ("waiting_for_retry", None),
    Operation.COMPENSATE: ("unknown", None),
    Operation.SKIP: ("contract_violation", "send_tickets"),
    Operation.MARK_SUCCEEDED: ("held_unknown", "pay"),
    Operation.MARK_REFUSED: ("held_unknown", "pay"),
    Operation.MARK_COMPENSATED: ("compensation_refused", "book_flight"),
    Operation.PAUSE: ("waiting_for_retry", None),
    Operation.RESUME: ("paused", None),
    Operation.CANCEL: ("waiting_for_retry", None),
    Operation.ABANDON: ("compensation_refused", None),
}


def make(operation: Operation) -> tuple[Saga, str | None]:
    maker, step = WHERE[operation]
    return trips.MAKERS[maker](), step


def fill(saga: Saga, operation: Operation, step: str | None, **changes: Any) -> dict[str, Any]:
    evidence = {"evidence": EVIDENCE} if operation.value.startswith("mark") else {}
    return form_of(saga, step=step or "", **evidence, **changes)
