"""Take a guarding rule away, and see the test that is there for it fail with what it says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Control:
    """One rule.

    remove: what happens without. play: the test that is there for it. told: by what it fails then.
    """

    remove: Callable[[pytest.MonkeyPatch], None]
    play: Callable[..., Any]
    told: str

    def fail_without(self, patch: pytest.MonkeyPatch, *given: Any) -> None:
        """Play the test without its rule, and see it fail with what it is there to say."""
        self.remove(patch)
        with must_fail(self.told):
            self.play(*given)


def rewrite(patch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Let a part of every statement of this process be another one."""
    execute = CursorWrapper.execute
    patch.setattr(
        CursorWrapper, "execute", lambda cursor, sql, params=None: execute(cursor, sql.replace(old, new), params)
    )
