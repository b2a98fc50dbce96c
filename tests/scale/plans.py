"""Look at how PostgreSQL carries out what is asked of it: never by reading a big table from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from sagas.conf import get_settings

BIG_TABLES = frozenset(
    {"sagas_saga", "sagas_sagastep", "sagas_sagaattempt", "sagas_sagahistory", "sagas_sagakey", "sagas_sagabarrier"}
)
SMALL_PART = 0.1
EXPLAINED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


@dataclass(kw_only=True)
class Plans:
    """Collect what was asked.

    asked: how many statements there were, savepoints not counted. found: those that read a big table whole.
    """

    asked: int = 0
    found: list[str] = field(default_factory=list)

    def explain(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Be a wrapper around Django's execute: ask for the plan first."""
        if not many and sql.lstrip().upper().startswith(EXPLAINED):
            execute(f"EXPLAIN (FORMAT JSON) {sql}", params, many, context)
            answer = context["cursor"].fetchone()[0]
            plan = json.loads(answer) if isinstance(answer, str) else answer
            self.asked += 1
            read = sorted(find_sequential_scans(plan[0]["Plan"]) & BIG_TABLES)
            self.found += [f"{', '.join(read)} by: {' '.join(sql.split())[:600]}"] if read else []
        return execute(sql, params, many, context)


def find_sequential_scans(node: dict[str, Any], part: float = 1.0) -> set[str]:
    """Return the tables that a plan reads from end to end, or may.

    part: how much of what the node could give is asked for; below a LIMIT a scan ends when it has enough. With a filter
    nobody knows when that is: what passes may all be at the end.
    """
    is_whole = node["Node Type"] == "Seq Scan" and (part > SMALL_PART or "Filter" in node)
    own = {node["Relation Name"]} if is_whole else set()
    children = node.get("Plans", [])
    is_limit = node["Node Type"] == "Limit"
    parts = [node["Plan Rows"] / max(child["Plan Rows"], 1) if is_limit else part for child in children]
    return own.union(*(find_sequential_scans(child, part) for child, part in zip(children, parts, strict=True)))


@contextmanager
def watch_plans() -> Iterator[Plans]:
    """Look at every statement of the engine's database."""
    plans = Plans()
    with connections[get_settings().database].execute_wrapper(plans.explain):
        yield plans
