"""Replicas that must not be read for rows of the engine, and routers that would send all reads to them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.models import Model
from django.test import override_settings

PRIMARY, REPLICA = "default", "replica"
ENGINE_TABLE = re.compile(r"\bsagas_saga\w*")
ROUTERS = ("config.routers.ParticipantRouter",)

# Stand-ins for a replica: a second connection that is read only, or one without any table.
READ_ONLY, EMPTY = "-c default_transaction_read_only=on", "-c search_path=nowhere"


class PrimaryReplica:
    """Router from Django's documentation that reads everything from the replica."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str:
        """Read from the replica."""
        return REPLICA

    def allow_relation(self, first: Model, second: Model, **_hints: Any) -> bool:
        """Allow every relation: both databases hold the same rows."""
        return True


class EngineFromReplica:
    """Router that sends the engine's reads elsewhere."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        """Read the engine's rows from the replica."""
        return REPLICA if model._meta.app_label == "sagas" else None


@contextmanager
def opened_replica(options: str) -> Iterator[None]:
    """Provide an alias for a replica. As a mirror it is not emptied after a test."""
    primary = connections[PRIMARY].settings_dict
    given = primary["OPTIONS"].get("options", "")
    connections.settings[REPLICA] = {
        **primary,
        "OPTIONS": {**primary["OPTIONS"], "options": f"{given} {options}".strip()},
        "TEST": {**primary["TEST"], "MIRROR": PRIMARY},
    }
    try:
        yield
    finally:
        connections[REPLICA].close()
        del connections[REPLICA]
        del connections.settings[REPLICA]


@contextmanager
def reading_from_replica(router: type) -> Iterator[list[str]]:
    """Route reads to the replica, and refuse those of the engine's tables.

    Returns: the refused statements; tests must assert that there are none, since the engine survives many errors.
    """
    asked: list[str] = []

    def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if ENGINE_TABLE.search(sql):
            asked.append(sql)
            raise AssertionError(f"A replica was asked for rows of the engine: {sql}")
        return execute(sql, params, many, context)

    path = f"{router.__module__}.{router.__qualname__}"
    with override_settings(DATABASE_ROUTERS=[path, *ROUTERS]), connections[REPLICA].execute_wrapper(refuse):
        yield asked
