"""Plugin of runs on four databases: fails unlisted tests that use a participant's database.

`make test` runs on four databases what stands in ``on_four_databases.txt``, modules and functions; to all other tests a
database of a participant is one that they never use.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.db.backends.utils import CursorWrapper

from .servers import PARTICIPANTS

LISTED = frozenset(Path(__file__).with_name("on_four_databases.txt").read_text().split())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Check the databases of all statements of a test."""
    met: set[str] = set()
    execute = CursorWrapper.execute

    def note(cursor: Any, sql: Any, params: Any = None) -> Any:
        met.add(cursor.db.alias)
        return execute(cursor, sql, params)

    with patch.object(CursorWrapper, "execute", note):
        result = yield
    if not LISTED.isdisjoint({item.nodeid.partition("::")[0], item.nodeid.partition("[")[0]}):
        return result
    assert met.isdisjoint(PARTICIPANTS), f"It meets {met & {*PARTICIPANTS}}: list it in tests/on_four_databases.txt."
    return result
