"""Concurrent calls, and a count of their results."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.engine.side_by_side import PATIENCE_SECONDS, run_side_by_side

__all__ = ["PATIENCE_SECONDS", "count_types", "run_side_by_side"]


def count_types(results: Sequence[Any]) -> dict[str, int]:
    """Count the results by type."""
    return dict(Counter(type(result).__name__ for result in results))
