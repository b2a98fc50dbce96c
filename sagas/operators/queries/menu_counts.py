"""Counts beside the entries of the console's menu, in one statement whose cost does not grow with the tables."""

from dataclasses import dataclass

from django.db import connections

from ...conf import get_settings
from ...core.severity import Severity

MOST = 1_000  # more are counted as "more than"

COUNT = """
    SELECT (
        SELECT count(*) FROM (
            SELECT 1 FROM sagas_saga WHERE closed_at IS NULL AND severity < %(open)s LIMIT %(most)s
        ) AS needing
    ), (
        SELECT count(*) FROM (SELECT 1 FROM sagas_sagabulk WHERE state = 'running' LIMIT %(most)s) AS running
    )
"""


@dataclass(frozen=True, kw_only=True)
class MenuCounts:
    """Numbers in the menu."""

    attention: int
    """Open sagas that need attention, at most one more than ``MOST``."""
    bulks: int
    """Bulks that run now, at most one more than ``MOST``."""


def read_menu_counts() -> MenuCounts:
    """Return the numbers as of now."""
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(COUNT, {"open": Severity.OPEN.value, "most": MOST + 1})
        attention, bulks = cursor.fetchone()
    return MenuCounts(attention=attention, bulks=bulks)


def show_count(count: int) -> str:
    """Return a number as the menu shows it; empty for none."""
    return f"{MOST}+" if count > MOST else str(count or "")
