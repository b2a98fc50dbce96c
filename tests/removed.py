"""Take a guarding rule away, and see the test that is there for it fail with what it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db.backends.utils import CursorWrapper

NOT_REFUSED = "DID NOT RAISE"


@contextmanager
def must_fail(told: str) -> Iterator[None]:
    """Let a test fail in the block, by an assertion of its own.

    told: what it says then, as a regular expression.
    Raises: the failure of ``pytest.raises`` when the test passes without its rule.
    """
    with pytest.raises((AssertionError, pytest.fail.Exception), match=told):
        yield


def rewrite(patch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Let a part of every statement of this process be another one."""
    execute = CursorWrapper.execute
    patch.setattr(
        CursorWrapper, "execute", lambda cursor, sql, params=None: execute(cursor, sql.replace(old, new), params)
    )
