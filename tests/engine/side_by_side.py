"""Concurrent calls, each in a thread with its own database connections."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from django.db import connections

# Longer than any test needs: a deadlocked test fails instead of stopping the run.
PATIENCE_SECONDS = 60


def run_side_by_side(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Start all calls at the same moment.

    Returns: for each call, in order, what it returned or the exception it raised.
    """
    start = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait(PATIENCE_SECONDS)
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - the test looks at what was raised
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=len(calls)) as executor:
        return list(executor.map(run, calls, timeout=PATIENCE_SECONDS))


def run_elsewhere(call: Callable[[], Any]) -> Any:
    """Run one call on separate connections, as another process would.

    Raises: what the call raises.
    """
    [result] = run_side_by_side([call])
    if isinstance(result, Exception):
        raise result
    return result
