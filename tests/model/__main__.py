"""Print what the searches find: ``python -m tests.model`` runs every model, then takes away one rule after another."""

from __future__ import annotations

import sys
import time

from .rules import RULES
from .search import explore
from .variants import REMOVALS, RUNS, remove


def print_findings() -> None:
    """Print the figures of each model, and the shortest trace to harm without each rule."""
    for run in RUNS:
        began = time.process_time()
        result = explore(run.model)
        _say(f"{run.model.name}: {result} ({time.process_time() - began:.1f} s)")
    for rule, removal in REMOVALS.items():
        result = explore(remove(removal.model, rule), only=(removal.invariant,))
        _say(f"\nWithout {rule!r} ({removal.model.name}): {RULES[rule]}\n{result}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    print_findings()
