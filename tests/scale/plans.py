"""Query plans: PostgreSQL must not scan a big table or index from end to end."""

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
EXPLAINED = ("SELECT", "(SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


@dataclass(kw_only=True)
class Plans:
    """Plans of the executed statements.

    tables: those that are big. asked: number of statements without savepoints. found: those that scan a big table.
    pages: of 8 kB, of tables and indexes, that all of them touched, each as often as it was; costliest: the statement
    with most of them, and how many.
    """

    tables: frozenset[str] = BIG_TABLES
    asked: int = 0
    found: list[str] = field(default_factory=list)
    pages: int = 0
    costliest: tuple[int, str] = (0, "")

    def explain(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Wrap Django's execute: run each statement once for its plan, and roll that back.

        Tx: must be in one.
        """
        if not many and sql.lstrip().upper().startswith(EXPLAINED):
            execute("SAVEPOINT plans", None, False, context)
            execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", params, many, context)
            answer = context["cursor"].fetchone()[0]
            execute("ROLLBACK TO SAVEPOINT plans", None, False, context)
            execute("RELEASE SAVEPOINT plans", None, False, context)
            self._note(sql, (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"])
        return execute(sql, params, many, context)

    def _note(self, sql: str, plan: dict[str, Any]) -> None:
        text = " ".join(sql.split())[:600]
        read = sorted(find_sequential_scans(plan) & self.tables)
        pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.asked += 1
        self.found += [f"{', '.join(read)} by: {text}"] if read else []
        self.pages += pages
        self.costliest = max(self.costliest, (pages, text))


def find_sequential_scans(node: dict[str, Any], part: float = 1.0) -> set[str]:
    """Return the tables that a plan scans, or may scan, from end to end.

    part: how much of what the node could give is asked for; below a LIMIT a scan ends when it has enough. With a filter
    that is unknown: all matching rows may be at the end.
    """
    is_whole = node["Node Type"] == "Seq Scan" and (part > SMALL_PART or "Filter" in node)
    own = {node["Relation Name"]} if is_whole else set()
    children = node.get("Plans", [])
    is_limit = node["Node Type"] == "Limit"
    parts = [node["Plan Rows"] / max(child["Plan Rows"], 1) if is_limit else part for child in children]
    return own.union(*(find_sequential_scans(child, part) for child, part in zip(children, parts, strict=True)))


@contextmanager
def watch_plans(tables: frozenset[str] = BIG_TABLES) -> Iterator[Plans]:
    """Record the plan of every statement on the engine's database."""
    plans = Plans(tables=tables)
    with connections[get_settings().database].execute_wrapper(plans.explain):
        yield plans
