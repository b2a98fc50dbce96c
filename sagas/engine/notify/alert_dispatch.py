"""Alert dispatch: the hooks of ``SAGAS["ON_ATTENTION"]`` are called after the commit and never delay the engine.

Alerts go into a bounded queue of this process, and one daemon thread calls the hooks: it holds no lease, no lock and
no transaction, and closes its database connections whenever it is idle. A hook that fails is retried a few times.
Delivery is best effort: alerts are lost when the process dies or its queue is full. Rows and metrics keep the
attention, so alert on those, too.
"""

import atexit
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db import connections
from django.utils.module_loading import import_string

from ...alerts import AnyAlert
from ...conf import get_settings
from ...core.background_queue import BackgroundQueue
from ...core.definition import function_shapes
from ...core.rare_warnings import RareWarnings

logger = logging.getLogger(__name__)

CAPACITY = 1_000  # alerts that one process keeps for slow hooks
PAUSES_SECONDS = (1.0, 10.0, 60.0)  # before each retry of a failed hook; after the last one it is given up
FLUSH_SECONDS = 5.0  # how long an ending process waits for its last alerts


@dataclass(frozen=True, kw_only=True)
class _Call:
    """Pending call of one hook with one alert."""

    hook: str
    alert: AnyAlert
    tries: int = 0


def announce(alerts: Iterable[AnyAlert]) -> None:
    """Queue a call of every hook with every alert. Never blocks, never raises.

    Tx: after the commit.
    """
    try:
        for hook in get_settings().on_attention:
            for alert in alerts:
                if not _queue.put(_Call(hook=hook, alert=alert)):
                    _warnings.warn("Alerts dropped: the hooks of SAGAS['ON_ATTENTION'] are too slow.")
    except Exception:
        logger.exception("Alerts lost; sagas and events keep their attention.")


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Wait until every hook was called once for all alerts announced so far, at most ``seconds``."""
    _queue.flush(seconds)


def _make(call: _Call) -> None:
    function_shapes.require_finished(import_string(call.hook)(call.alert), call.hook)


def _try_again(call: _Call, error: BaseException, may_repeat: bool) -> tuple[_Call, float] | None:
    """Return the next try of a failed call and its delay, or None when the call is given up."""
    facts = {"hook": call.hook, "alert": call.alert.id, "reason": call.alert.reason}
    if call.tries >= len(PAUSES_SECONDS) or not may_repeat:
        logger.error("Alert dropped after its last try.", extra=facts, exc_info=error)
        return None
    logger.warning("Alert failed; trying again.", extra=facts, exc_info=error)
    return replace(call, tries=call.tries + 1), PAUSES_SECONDS[call.tries]


def _close_connections() -> None:
    try:
        connections.close_all()
    except Exception:
        logger.warning("A database connection could not be closed.", exc_info=True)


_warnings = RareWarnings(logger)
_queue = BackgroundQueue(
    _make, on_error=_try_again, thread_name="sagas-alerts", capacity=lambda: CAPACITY, on_idle=_close_connections
)
os.register_at_fork(after_in_child=_queue.forget)
atexit.register(flush)
