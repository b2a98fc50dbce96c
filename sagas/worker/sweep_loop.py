"""Loop of every process that sweeps: a Celery worker's thread and ``saga_sweep --loop``."""

import logging
from collections.abc import Callable

from django.db import Error, connections

from ..core.survival import ends_process
from ..databases import refresh_connections
from . import sweeper

logger = logging.getLogger(__name__)


def sweep_loop(
    sweep: Callable[[], None],
    *,
    should_stop: Callable[[], bool],
    wait: Callable[[], object],
    must_end_with: Callable[[BaseException], bool] = ends_process,
) -> None:
    """Sweep and wait until asked to stop, then remove the heartbeat. A failed sweep is repeated.

    Raises: errors for which ``must_end_with`` is true.
    """
    while not should_stop():
        try:
            refresh_connections()
            sweep()
        except Error as error:
            logger.warning("Sweep failed; trying again.", extra={"error": str(error)})
            connections.close_all()
        except BaseException as error:
            if must_end_with(error):
                raise
            logger.exception("Sweep failed; trying again.")
            connections.close_all()
        wait()
    try:
        sweeper.leave()
    except Error as error:
        logger.warning("Heartbeat not removed.", extra={"error": str(error)})
