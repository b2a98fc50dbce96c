"""Access log: who sees inputs, results and error texts, written before they are shown.

Each access is a line in the log and a row that cannot be changed. If the access cannot be logged, neither payloads nor
error texts are shown: the caller logs first and shows them only if that succeeded.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections
from django.db.models.functions import Now

from ...conf import get_settings
from ...models import SagaAccess
from ...transactions import own_transaction
from ..visibility import Visibility

logger = logging.getLogger(__name__)

REPEATED_AFTER = timedelta(minutes=10)  # a page that refreshes itself counts once
BATCH = 5_000
MAX_DETAIL_CHARS = 300
# Each parameter has a cast: with server-side binding its uses would otherwise get different types.
STATEMENT = f"""
    INSERT INTO {SagaAccess._meta.db_table} (at, actor, what, saga_id, detail)
    SELECT clock_timestamp(), %(actor)s::varchar, %(what)s::varchar, %(saga_id)s::uuid, %(detail)s::varchar
    WHERE NOT %(once)s::boolean OR NOT EXISTS (
        SELECT FROM {SagaAccess._meta.db_table}
        WHERE saga_id = %(saga_id)s::uuid AND actor = %(actor)s::varchar AND what = %(what)s::varchar
            AND detail = %(detail)s::varchar AND at > clock_timestamp() - %(age)s::interval
    )
"""  # noqa: S608 - the table's name is the model's


class What(StrEnum):
    """Kind of access."""

    PAGE = "page"  #: the saga's page
    HISTORY = "history"  #: the history since a form was rendered
    VALUE = "value"  #: one JSON value, downloaded as a file
    BUNDLE = "bundle"  #: the whole saga, downloaded as a file
    EXPORT = "export"  #: many sagas, downloaded as a file
    TRANSCRIPT = "transcript"  #: the whole saga, on the command line
    BARRIER = "barrier"  #: a result stored in a participant's database
    LIST = "list"  #: one error line each of many sagas, on the command line or through the API
    API = "api"  #: a response of the operators' API
    EVENT = "event"  #: one event, or groups of failed ones


ERRORS_ONLY = "error texts only"  # detail of an access without inputs and results
TAKEN_ALONG = frozenset({What.VALUE, What.BUNDLE, What.EXPORT})


def log_access(
    actor: object, what: What, *, saga_id: UUID | None = None, detail: str = "", level: int = logging.INFO
) -> bool:
    """Log that an actor is about to see payloads.

    ``actor``: the name of the account, which is not a string in every project.
    A repeated access to a saga within REPEATED_AFTER adds no row, except for downloads.
    ``level``: of the line in the log; it does not affect the row.
    Returns: whether the payloads may be shown; False when the access could not be logged.
    Tx: joins the caller's, or is one of its own.
    """
    settings, actor = get_settings(), str(actor)
    shown = settings.redactor.redact_text(detail)[:MAX_DETAIL_CHARS]
    facts = {"actor": actor, "what": what.value, "saga_id": str(saga_id) if saga_id else "", "detail": shown}
    once = what not in TAKEN_ALONG and saga_id is not None
    values: dict[str, Any] = {
        "actor": actor[:200], "what": what.value, "saga_id": saga_id, "detail": shown, "once": once,
        "age": REPEATED_AFTER,
    }  # fmt: skip
    try:
        with own_transaction(settings.database, joins=True), connections[settings.database].cursor() as cursor:
            cursor.execute(STATEMENT, values)
    except (DatabaseError, InterfaceError):
        text = "Access to payloads refused: it could not be logged."
        logger.error(text, extra=facts, exc_info=level >= logging.INFO)  # no traceback on the terminal of a command
        return False
    logger.log(level, "Payloads seen.", extra=facts)
    return True


def log_visible(
    visibility: Visibility, actor: object, what: What, *, saga_id: UUID | None = None, detail: str = ""
) -> Visibility:
    """Log that an actor is about to see what a visibility allows; nothing for states alone.

    Returns: what may be shown: the same, or states alone when the access could not be logged.
    Tx: as ``log_access``.
    """
    if not visibility.has_errors:
        return visibility
    shown = detail if visibility.has_payloads else ", ".join(filter(None, (ERRORS_ONLY, detail)))
    return visibility if log_access(actor, what, saga_id=saga_id, detail=shown) else Visibility.STATES


def count_expired_accesses() -> int:
    """Count what ``delete_expired_accesses`` would delete now."""
    settings = get_settings()
    return SagaAccess.objects.using(settings.database).filter(at__lt=Now() - settings.access_retention).count()


def delete_expired_accesses(*, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Delete rows older than SAGAS['ACCESS_RETENTION'], in batches.

    Returns: how many rows.
    Tx: must not be inside one; opens one for each batch.
    """
    using, count = get_settings().database, 0
    age: Any = get_settings().access_retention
    while not should_stop():
        with own_transaction(using), connections[using].cursor() as cursor:
            cursor.execute("SELECT set_config('sagas.retention', 'on', true)")
            cursor.execute(
                f"DELETE FROM {SagaAccess._meta.db_table} WHERE id IN (SELECT id FROM {SagaAccess._meta.db_table}"  # noqa: S608
                " WHERE at < clock_timestamp() - %s::interval ORDER BY at, id LIMIT %s FOR UPDATE SKIP LOCKED)",
                [age, BATCH],
            )
            deleted = int(cursor.rowcount)
            cursor.execute("SELECT set_config('sagas.retention', 'off', true)")
        count += deleted
        if deleted < BATCH:
            break
    return count
