"""A pool whose connections may all be dead: the request that meets them renews it, and is answered.

psycopg's own check pauses after each dead connection, for twice as long every time, so that the first requests after a
restart of the database would wait for nothing and fail. Here dead ones are dropped without a pause. Nothing is ever
repeated: a connection is looked at before the first statement of whoever takes it.
"""

from __future__ import annotations

import time
from typing import Any

from django.db.backends.postgresql import base
from psycopg import Error
from psycopg_pool import ConnectionPool, PoolTimeout


class DatabaseWrapper(base.DatabaseWrapper):
    """Connect by a pool if there is one, and never hand out a dead connection."""

    # After that the database counts as away. The pool's own time-out is a fraction of it: a pool that has given up
    # growing tries again only when somebody new asks.
    wait_seconds = 5.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection that answers.

        Raises: psycopg.OperationalError when there is none in time.
        """
        if not self.pool:
            return super().get_new_connection(conn_params)
        give_up_at = time.monotonic() + self.wait_seconds
        while True:
            try:
                connection = super().get_new_connection(conn_params)
                if is_alive(connection):
                    return connection
            except PoolTimeout:
                if time.monotonic() >= give_up_at:
                    raise
                continue
            # The pool replaces what comes back closed.
            connection.close()
            connection._pool.putconn(connection)  # noqa: SLF001 - as Django itself gives connections back
            if time.monotonic() >= give_up_at:
                raise PoolTimeout(f"no connection answered within {self.wait_seconds:.0f} sec")


def is_alive(connection: Any) -> bool:
    """Tell whether the server at the other end answers."""
    try:
        ConnectionPool.check_connection(connection)
    except Error:
        return False
    return True
