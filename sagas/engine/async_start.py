"""Start of a saga from async code."""

from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async

from ..conf import get_settings
from ..core.definition.saga import SagaDefinition
from ..databases import refresh_connection
from ..exceptions import SagaError
from ..models import Saga
from .start_saga import start


async def astart(
    definition: type[SagaDefinition],
    input: Any = None,
    *,
    business_keys: Mapping[str, str] | None = None,
    actor: str = "",
    traceparent: str = "",
) -> Saga:
    """Start a saga from async code; the arguments are those of ``start``.

    Django's transactions belong to a thread, so async code has none to join: the saga is committed when this returns,
    whatever happens to the caller's other rows. To commit both together, write them and call ``start`` in a normal
    function under ``transaction.atomic``, and await that with ``sync_to_async``. A task that is cancelled meanwhile may
    still have started the saga; check with ``find``.
    Raises: InputRefused as ``start``; SagaError when a step is declared as done together with the start.
    Tx: opens its own, by ``sync_to_async(thread_sensitive=True)``.
    """
    if done := [step.name for step in definition.steps if step.action is None]:
        raise SagaError(
            f"{definition.name}: {', '.join(done)} has no action, so it is done in the transaction that starts the"
            " saga. Do both in a normal function under transaction.atomic, and await that with sync_to_async."
        )
    call = sync_to_async(_start, thread_sensitive=True)
    return await call(definition, input, business_keys=business_keys, actor=actor, traceparent=traceparent)


def _start(definition: type[SagaDefinition], input: Any, **options: Any) -> Saga:
    refresh_connection(get_settings().database)
    return start(definition, input, **options)
