"""Removed guarding rules: the test that guards each must fail with its own message."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.backends.utils import CursorWrapper

NOT_REFUSED = "DID NOT RAISE"


@contextmanager
def must_fail(told: str) -> Iterator[None]:
    """Expect a test in the block to fail by its own assertion.

    told: its message, as a regular expression.
    Raises: the failure of ``pytest.raises`` if the test passes without its rule.
    """
    with pytest.raises((AssertionError, pytest.fail.Exception), match=told):
        yield


@dataclass(frozen=True, kw_only=True)
class Control:
    """Negative control of one rule.

    remove: removes the rule. play: the test that guards it. told: that test's failure message.
    """

    remove: Callable[[pytest.MonkeyPatch], None]
    play: Callable[..., Any]
    told: str

    def fail_without(self, patch: pytest.MonkeyPatch, *given: Any) -> None:
        """Run the test without its rule, and expect its own failure message."""
        self.remove(patch)
        with must_fail(self.told):
            self.play(*given)


def rewrite(patch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Replace a part of every statement of this process."""
    execute = CursorWrapper.execute
    patch.setattr(
        CursorWrapper, "execute", lambda cursor, sql, params=None: execute(cursor, sql.replace(old, new), params)
    )
