"""Links from a choreographed saga to what helps with the event that it waits for."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ...choreography.calls import OpenAnswers
from ...events import catalogue
from ...events.settings import get_event_settings
from ...models import InboxState
from ...operators.actor import Actor
from ...operators.event_operations import PERMISSIONS, VIEW, EventOperation
from ..ui.addresses import find_url
from .event_rows import find_event_url, name_consumer
from .reading import SagaReading

FAILED = (InboxState.DEAD, InboxState.PARKED, InboxState.RETRYING, InboxState.NOT_YET)


@dataclass(frozen=True, kw_only=True)
class EventLink:
    """Button to an operation on an event, or to the page of deliveries."""

    label: str
    url: str


def list_event_links(reading: SagaReading, actor: Actor, site: str) -> Iterator[EventLink]:
    """Yield the retry of each event that failed where an answer is owed, then the deliveries if an answer is late."""
    answers, saga = reading.answers, reading.snapshot.saga
    if answers is None or not actor.may(VIEW):
        return
    if actor.may(PERMISSIONS[EventOperation.RETRY]):
        yield from _list_retries(answers, reading, site)
    is_late = any(datetime.fromisoformat(debt["due_at"]) <= reading.now for debt in saga.owed)
    if is_late and get_event_settings().are_on and (url := find_url(site, "sagas_saga_delivery")):
        yield EventLink(label="Delivery of events", url=url)


def _list_retries(answers: OpenAnswers, reading: SagaReading, site: str) -> Iterator[EventLink]:
    for debt in reading.snapshot.saga.owed:
        cause, by = answers.find_event(debt["causes"][-1], debt["cause"]), debt["by"]
        receipt = cause.find_receipt(by) if cause is not None and catalogue.is_local(by) else None
        if cause is None or receipt is None or receipt.state not in FAILED:
            continue
        url = find_event_url(site, cause, EventOperation.RETRY.value, consumer=by)
        if url:
            yield EventLink(label=f"Retry {cause.type} at {name_consumer(by)}", url=url)
