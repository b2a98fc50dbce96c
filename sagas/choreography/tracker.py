"""Tracker: a consumer that records each event of a choreographed saga and advances the saga. It commands nobody.

It never holds and refuses nothing: an event that contradicts what was recorded is recorded, too, and shown.
"""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ..conf import get_settings
from ..core.history_events import HistoryEvent
from ..core.states import Coordination
from ..engine.store.draft import SagaDraft
from ..engine.store.unit_of_work import SagaUnitOfWork
from ..events.catalogue import TRACKER
from ..events.declaration import find_type
from ..events.errors import NotYet
from ..events.handlers import Received, list_handlers, on
from ..models import Saga, SagaKey, TrackedEvent
from . import progress
from .definition import ChoreographyDefinition, all_choreographies, find


def subscribe() -> None:
    """Register the tracker for every event of every choreography; events that it has are left alone."""
    known = {handler.event.name for handler in list_handlers() if handler.consumer == TRACKER}
    for definition in all_choreographies():
        for name in definition.list_events():
            declared = find_type(name)
            if declared is not None and name not in known:
                on(declared.schema, consumer=TRACKER, undoes=True)(track)
                known.add(name)


def track(event: Any, received: Received) -> None:
    """Record an event of a choreographed saga.

    Raises: NotYet when there is no such saga, or the code does not have its definition.
    Locks: the saga row.
    Tx: inside one of the engine's database.
    """
    definitions = [one for one in all_choreographies() if received.type in one.list_events()]
    saga_id = find_saga([one.name for one in definitions], received.correlation_id, received.key)
    if saga_id is None:
        raise NotYet(
            f"No choreographed saga has the id {received.correlation_id or 'none'!r} or the key {received.key!r}."
        )
    work = SagaUnitOfWork.lock(saga_id)
    definition = require_definition(work.saga)
    using = get_settings().database
    fact, is_new = TrackedEvent.objects.using(using).get_or_create(
        saga_id=saga_id,
        source=received.source,
        event_id=received.id,
        defaults={
            "type": received.type, "causation_id": received.causation_id, "recorded_at": received.recorded_at,
            "tracked_at": work.now,
        },
    )  # fmt: skip
    if not is_new:
        return
    record(work, definition, fact)
    work.write()


def record(draft: SagaDraft, definition: type[ChoreographyDefinition], fact: TrackedEvent) -> None:
    """Add a fact, which has been inserted, to the history of its saga, and apply all facts."""
    facts = list_facts(draft.saga)
    is_again = any(other.type == fact.type and other.pk != fact.pk for other in facts)
    draft.add_history(
        HistoryEvent.EVENT_RECORDED,
        to_state=fact.type[:30],
        data={
            "type": fact.type, "id": fact.event_id, "source": fact.source, "causation": fact.causation_id,
            **({"again": True} if is_again else {}), **({"assumed": True} if fact.is_assumed else {}),
        },
    )  # fmt: skip
    progress.apply(draft, definition, facts)


def list_facts(saga: Saga) -> list[TrackedEvent]:
    """Return the recorded events of a saga, in the order in which the tracker recorded them."""
    return list(TrackedEvent.objects.using(get_settings().database).filter(saga_id=saga.pk).order_by("id"))


def require_definition(saga: Saga) -> type[ChoreographyDefinition]:
    """Return the definition of a choreographed saga.

    Raises: NotYet when the code does not have it.
    """
    definition = find(saga.definition, saga.version)
    if definition is None:
        raise NotYet(f"The code has no choreography {saga.definition!r} version {saga.version}: deploy it again.")
    return definition


def find_saga(definitions: list[str], correlation_id: str, key: str) -> UUID | None:
    """Return the saga that an event belongs to: by its correlation id and key, else by its key, else by correlation.

    Two flows with one correlation id are two sagas, so the key decides first. Of several sagas with the key it is the
    one that the correlation id names, else the newest.
    """
    keys = SagaKey.objects.using(get_settings().database).filter(
        value=key, saga__coordination=Coordination.CHOREOGRAPHY.value, saga__definition__in=definitions
    )
    found: list[UUID] = list(keys.order_by("-saga_id").values_list("saga_id", flat=True)[:100]) if key else []
    wanted = read_uuid(correlation_id)
    if wanted is None or wanted in found:
        return wanted or next(iter(found), None)
    if found:
        return found[0]
    return _select(definitions).filter(pk=wanted).values_list("pk", flat=True).first()


def _select(definitions: list[str]) -> QuerySet[Saga]:
    rows = Saga.objects.using(get_settings().database)
    return rows.filter(coordination=Coordination.CHOREOGRAPHY.value, definition__in=definitions).order_by()


def read_uuid(text: str) -> UUID | None:
    """Return the id that a text is, or None."""
    try:
        return UUID(text)
    except ValueError:
        return None
