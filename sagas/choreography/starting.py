"""Start of a choreographed saga, in the transaction that publishes its first event."""

from collections.abc import Mapping

from django.db import connections

from .. import clock
from ..conf import get_settings
from ..core import json_values
from ..core.states import Coordination
from ..engine import start_saga
from ..engine.store.business_keys import check_keys
from ..engine.store.unit_of_work import SagaUnitOfWork
from ..exceptions import SagaError
from ..models import Saga
from ..models.saga import new_saga_id
from . import progress
from .definition import ChoreographyDefinition

KEY_NAME = "key"


def start(
    definition: type[ChoreographyDefinition],
    *,
    key: str,
    business_keys: Mapping[str, str] | None = None,
    actor: str = "",
    traceparent: str = "",
) -> Saga:
    """Start a choreographed saga; the caller then publishes the event that begins it.

    ``key``: that of the events, such as an order number. Like the business keys, operators search by it, and it finds
    the saga of events without correlation. Publish with ``correlation_id=str(saga.pk)``.
    Raises: InputRefused when a key or the actor does not fit; SagaError outside a transaction of the engine's database.
    Tx: must be inside one of the engine's database.
    """
    using = get_settings().database
    keys = dict(business_keys or {})
    if key not in keys.values():
        keys[KEY_NAME] = key
    keys = check_keys(keys)
    json_values.require_text(actor, "The actor")
    if not connections[using].in_atomic_block:
        raise SagaError(
            f"{definition.name} must be started in the transaction that publishes {definition.begins_with}: call start"
            f" inside transaction.atomic(using={using!r})."
        )
    now = clock.read_now(using)
    saga = Saga(
        id=new_saga_id(),
        definition=definition.name,
        version=definition.version,
        digest=definition.digest,
        input={KEY_NAME: key},
        coordination=Coordination.CHOREOGRAPHY.value,
        history_count=1,
        started_by=get_settings().redactor.redact_text(actor)[:200],
        traceparent=start_saga.check_traceparent(traceparent),
        deadline_at=now + definition.deadline if definition.deadline else None,
        created_at=now,
        updated_at=now,
    )
    steps = [
        start_saga.pending_row(saga, step.name, step.position, step.position, step.kind.value)
        for step in definition.steps
    ]
    start_saga.insert(saga, steps, keys)
    work = SagaUnitOfWork.lock(saga.pk)
    progress.apply(work, definition, ())
    work.write()
    return work.saga
