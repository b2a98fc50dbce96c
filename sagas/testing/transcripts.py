"""Comparison of a saga's transcript, without times, ids and workers, with the expected one."""

import difflib
from uuid import UUID

from ..conf import get_settings
from ..models import Saga, SagaHistory


def transcript(saga: Saga | UUID) -> str:
    """Return a saga's history as stable text: one line for each entry, without times, ids or workers."""
    saga_id = saga.pk if isinstance(saga, Saga) else saga
    rows = SagaHistory.objects.using(get_settings().database).filter(saga_id=saga_id).order_by("number")
    return "\n".join(_line_of(row) for row in rows)


def assert_transcript(saga: Saga | UUID, expected: str) -> None:
    """Check a saga's transcript against the expected text; blank lines and indentation are ignored.

    Raises: AssertionError with the difference.
    """
    wanted = [line.strip() for line in expected.strip().splitlines() if line.strip()]
    found = transcript(saga).splitlines()
    if wanted != found:
        difference = "\n".join(difflib.unified_diff(wanted, found, "expected", "found", lineterm=""))
        raise AssertionError(f"The transcript differs:\n{difference}")


def _line_of(row: SagaHistory) -> str:
    parts = [row.what]
    if row.step:
        parts.append(row.step)
    if row.from_state or row.to_state:
        parts.append(f"{row.from_state or '-'} > {row.to_state or '-'}")
    if row.actor:
        parts.append(f"by {row.actor}")
    return " | ".join(parts)
