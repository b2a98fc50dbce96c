"""PostgreSQL backend whose pool may contain only dead connections: the next request replaces them and succeeds.

psycopg's own check pauses after each dead connection, twice as long each time, so the first requests after a restart of
the database would wait needlessly and fail. Here dead connections are dropped without a pause. No statement is ever
repeated: a connection is checked before its first statement.
"""

import time
from typing import Any

from django.db.backends.postgresql import base
from psycopg import Error
from psycopg_pool import ConnectionPool, PoolTimeout


class DatabaseWrapper(base.DatabaseWrapper):
    """Backend that connects through a pool if there is one, and never returns a dead connection."""

    # After this time the database counts as unavailable. The pool's own time-out is a fraction of it: a pool that has
    # given up growing tries again only at a new request.
    wait_seconds = 5.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a working connection.

        Raises: psycopg.OperationalError if there is none in time.
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
            # The pool replaces returned closed connections.
            connection.close()
            connection._pool.putconn(connection)  # noqa: SLF001 - as Django itself gives connections back
            if time.monotonic() >= give_up_at:
                raise PoolTimeout(f"no connection answered within {self.wait_seconds:.0f} sec")


def is_alive(connection: Any) -> bool:
    """Return whether the server answers on a connection."""
    try:
        ConnectionPool.check_connection(connection)
    except Error:
        return False
    return True
