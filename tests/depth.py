"""How much a run tries: what `make test` has time for, or with ``CHAOS=full`` everything.

What is marked ``full`` belongs to `make test-faults` or `make chaos`. Without ``CHAOS=full`` it is left out, unless its
file is asked for by name.
"""

import os
from pathlib import Path

import pytest

FULL_VARIABLE = "CHAOS"
IS_FULL = os.environ.get(FULL_VARIABLE) == "full"


def leave_to_full_runs(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is marked ``full`` where it is neither wanted nor named."""
    if IS_FULL:
        return
    named = {Path(argument.partition("::")[0]).resolve() for argument in config.args}
    left = [item for item in items if item.get_closest_marker("full") and item.path not in named]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]
