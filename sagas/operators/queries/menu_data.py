"""Counts and saved views of the console's menu, in one statement whose cost does not grow with the tables."""

import json
from dataclasses import dataclass

from django.db import connections

from ...conf import get_settings
from ...core.severity import Severity
from ...models import SagaView

MOST = 1_000  # more are counted as "more than"

READ = """
    SELECT (
        SELECT count(*) FROM (
            SELECT 1 FROM sagas_saga WHERE closed_at IS NULL AND severity < %(open)s LIMIT %(most)s
        ) AS needing
    ), (
        SELECT count(*) FROM (SELECT 1 FROM sagas_sagabulk WHERE state = 'running' LIMIT %(most)s) AS running
    ), (
        SELECT coalesce(json_agg(json_build_object(
            'id', id, 'owner', owner, 'owner_id', owner_id, 'name', name, 'query', query, 'is_shared', is_shared
        ) ORDER BY is_shared, name, id), '[]')
        FROM sagas_sagaview WHERE is_shared OR owner_id = %(owner)s
    )
"""


@dataclass(frozen=True, kw_only=True)
class MenuData:
    """Numbers and views of the menu."""

    attention: int
    """Open sagas that need attention, at most one more than ``MOST``."""
    bulks: int
    """Bulks that run now, at most one more than ``MOST``."""
    views: tuple[SagaView, ...]
    """The user's own views and then the shared ones, each by name."""


def read_menu_data(owner_id: str) -> MenuData:
    """Return the menu's numbers and the views of a user, as of now. ``owner_id``: the key of the account, as text."""
    values: dict[str, int | str] = {"open": Severity.OPEN.value, "most": MOST + 1, "owner": owner_id}
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(READ, values)
        attention, bulks, views = cursor.fetchone()
    rows = json.loads(views) if isinstance(views, str) else views
    return MenuData(attention=attention, bulks=bulks, views=tuple(SagaView(**row) for row in rows))


def show_count(count: int) -> str:
    """Return a number as the menu shows it; empty for none."""
    return f"{MOST}+" if count > MOST else str(count or "")
