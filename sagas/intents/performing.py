"""Performing intents: wake those that are due, and advance one as the engine advances a saga."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import Error, connections

from ..clock import read_now
from ..conf import get_settings
from ..core.survival import ends_process
from ..databases import refresh_connection
from ..engine import advance as engine
from ..engine.notify import wakeup_sending
from ..models import Intent, IntentAttempt
from ..models.intents import INTENT_ID_VERSION
from . import declaration
from .unit_of_work import IntentUnitOfWork

logger = logging.getLogger(__name__)

# Wakes each due intent at most once per interval, over all sweepers, oldest first.
WAKE_DUE = """
UPDATE sagas_intent SET woken_at = %(now)s
WHERE id IN (
    SELECT id FROM sagas_intent
    WHERE due_at <= %(now)s AND (woken_at IS NULL OR woken_at <= %(before)s)
      AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))
    ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING id, queue
"""


@dataclass(frozen=True)
class IntentRows:
    """Tables of intents in one participant's database."""

    using: str
    attempts: Any = IntentAttempt

    def lock(self, wanted: UUID, *, checks_session: bool = False, checks_mark: bool = False) -> IntentUnitOfWork:
        """Lock an intent; ``checks_mark`` is for local steps, which intents are not."""
        return IntentUnitOfWork.lock_intent(self.using, wanted, checks_session=checks_session)


def is_intent_id(wanted: UUID) -> bool:
    """Return whether an id is that of an intent."""
    return wanted.version == INTENT_ID_VERSION


def perform(
    wanted: UUID,
    *,
    queues: frozenset[str] | None = None,
    worker: str = "",
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Perform an intent as far as it can go now.

    Returns: how many attempts were executed; 0 also when there is no such intent.
    Tx: must not be inside one.
    """
    alias = find_database(wanted)
    if alias is None:
        logger.info("Wake-up for an unknown intent ignored.", extra={"intent": str(wanted)})
        return 0
    return engine.advance(wanted, queues=queues, worker=worker, should_stop=should_stop, rows=IntentRows(alias))


def find_database(wanted: UUID) -> str | None:
    """Return the alias that holds an intent; None when no reachable database has it."""
    for alias in declaration.intent_databases():
        try:
            refresh_connection(alias)
            if Intent.objects.using(alias).filter(pk=wanted).exists():
                return alias
        except Error:
            logger.warning("Database of intents unreachable.", extra={"database": alias}, exc_info=True)
            refresh_connection(alias, is_broken=True)
    return None


def wake_due(queues: frozenset[str] | None = None) -> int:
    """Send a wake-up for each due intent that was not woken recently.

    Returns: how many; databases that cannot be reached count as having none.
    """
    found = [(row_id, queue) for alias in declaration.intent_databases() for row_id, queue in _mark_due(alias, queues)]
    for row_id, queue in found:
        wakeup_sending.send(row_id, queue)
    return len(found)


def perform_due(
    *, queues: frozenset[str] | None = None, worker: str = "", should_stop: Callable[[], bool] = lambda: False
) -> int:
    """Perform everything that is due, in this process; the attempts decide when something is due again.

    Returns: how many attempts were executed.
    """
    total = 0
    for alias in declaration.intent_databases():
        for row_id in _list_due(alias, queues):
            if should_stop():
                return total
            try:
                total += engine.advance(
                    row_id, queues=queues, worker=worker, should_stop=should_stop, rows=IntentRows(alias)
                )
            except BaseException as error:
                if ends_process(error):
                    raise
                logger.exception("Intent could not be performed.", extra={"intent": str(row_id)})
    return total


def _mark_due(alias: str, queues: frozenset[str] | None) -> list[tuple[UUID, str]]:
    settings = get_settings()
    try:
        refresh_connection(alias)
        now = read_now(alias)
        values: dict[str, Any] = {
            "now": now, "before": now - settings.wakeup_interval, "limit": settings.sweep_page,
            "queues": sorted(queues) if queues is not None else None,
        }  # fmt: skip
        with connections[alias].cursor() as cursor:
            cursor.execute(WAKE_DUE, values)
            return list(cursor.fetchall())
    except Error:
        logger.warning("Intents not swept: their database is away.", extra={"database": alias}, exc_info=True)
        refresh_connection(alias, is_broken=True)
        return []


def _list_due(alias: str, queues: frozenset[str] | None) -> list[UUID]:
    try:
        refresh_connection(alias)
        rows = Intent.objects.using(alias).filter(due_at__lte=read_now(alias))
        if queues is not None:
            rows = rows.filter(queue__in=sorted(queues))
        return list(rows.order_by("due_at").values_list("pk", flat=True)[: get_settings().sweep_page])
    except Error:
        logger.warning("Intents not performed: their database is away.", extra={"database": alias}, exc_info=True)
        refresh_connection(alias, is_broken=True)
        return []
