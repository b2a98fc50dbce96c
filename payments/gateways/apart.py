"""Commit the sandbox ledger's work whatever the caller's transaction does.

A real provider keeps its books elsewhere: when the merchant's transaction rolls back, the money stays held. The
sandbox keeps its ledger in the payments database, where a caller's rollback would take the ledger's rows with it, and
every test of a lost answer would pass for the wrong reason. So inside an open transaction the work runs on a
connection of its own, in a thread that lives as long as the work, because Django's connections belong to threads.
Outside one, the thread's own connection does and no thread is made.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections, transaction

Result = TypeVar("Result")


def commit_apart(database: str, work: Callable[[], Result]) -> Result:
    """Run the work in a transaction of its own and commit it before returning.

    Raises: what the work raises; then nothing of it is kept.
    Tx: opens one, never the caller's.
    """
    if not connections[database].in_atomic_block:
        return _commit(database, work)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger") as executor:
        return executor.submit(_commit_and_close, database, work).result()


def _commit(database: str, work: Callable[[], Result]) -> Result:
    with transaction.atomic(using=database, durable=True):
        return work()


def _commit_and_close(database: str, work: Callable[[], Result]) -> Result:
    try:
        return _commit(database, work)
    finally:
        connections[database].close()
