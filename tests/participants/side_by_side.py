"""Run calls side by side, each in a thread with database connections of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from django.db import connections

# Longer than any test needs; a deadlock fails the test instead of stopping the run.
PATIENCE_SECONDS = 30


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


def count_types(results: Sequence[Any]) -> dict[str, int]:
    """Count what came back by the name of its type."""
    return dict(Counter(type(result).__name__ for result in results))
