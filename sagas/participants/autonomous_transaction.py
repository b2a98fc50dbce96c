"""Autonomous transactions for participants: work that is committed whatever happens to the caller's transaction.

They record what has happened even if the caller rolls back, such as the books of a simulated provider, an audit
trail, or a counter of attempts. Effects of a step do not belong here: they must roll back with its transaction.

Source: Oracle PL/SQL, ``PRAGMA AUTONOMOUS_TRANSACTION``; PostgreSQL has none, so it takes a second connection.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections, transaction

Result = TypeVar("Result")


def commit_autonomously(using: str, work: Callable[[], Result]) -> Result:
    """Run the work in its own transaction and commit it before returning.

    Inside an open transaction the work runs on its own connection, in a thread that lives as long as the work, because
    Django's connections belong to threads. It does not see uncommitted changes of the caller, and must not need a row
    that the caller has locked: the two would wait for each other.
    Raises: any exception of the work, which is then rolled back.
    Tx: opens its own, never joins the caller's.
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
