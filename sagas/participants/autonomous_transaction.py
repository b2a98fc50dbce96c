"""Autonomous transactions for participants: work that is committed whatever becomes of the caller's transaction.

For what has happened even if the caller rolls back, such as the books of a simulated provider, an audit trail, or a
counter of attempts. Not for effects of a step: those are to be undone with its transaction.

Source: Oracle PL/SQL, ``PRAGMA AUTONOMOUS_TRANSACTION``; PostgreSQL has none, so it takes a second connection.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections, transaction

Result = TypeVar("Result")


def commit_autonomously(using: str, work: Callable[[], Result]) -> Result:
    """Run the work in a transaction of its own and commit it before returning.

    Inside an open transaction the work runs on a connection of its own, in a thread that lives as long as the work,
    because Django's connections belong to threads. It sees nothing that the caller has not committed, and must not need
    a row that the caller has locked: the two would wait for each other.
    Raises: what the work raises; then nothing of it is kept.
    Tx: opens one, never the caller's.
    """
    if not connections[using].in_atomic_block:
        return _commit(using, work)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="autonomous") as executor:
        return executor.submit(_commit_and_close, using, work).result()


def _commit(using: str, work: Callable[[], Result]) -> Result:
    with transaction.atomic(using=using, durable=True):
        return work()


def _commit_and_close(using: str, work: Callable[[], Result]) -> Result:
    try:
        return _commit(using, work)
    finally:
        connections[using].close()
