"""Print what the searches find: every model, then what goes wrong without one rule after another.

``python -m tests.protocol_model`` takes about a minute; ``--full`` searches each model with all rules together
instead, and beyond the bounds of the tests: some minutes and a few GB.
"""

import argparse
import sys
import time

from .rows import Model
from .rules import RULES
from .search import Result, explore
from .variants import BEYOND, REMOVALS, RUNS, complete, remove


def print_findings() -> bool:
    """Print the statistics of each model, and the shortest trace to a violation without each rule.

    Returns: whether every model held, and the lack of every rule was found.
    """
    held = [not _explore(run.model).violation for run in RUNS]
    found = []
    for rule, removal in REMOVALS.items():
        result = explore(remove(removal.model, rule), only=(removal.invariant,))
        _say(f"\nWithout {rule!r} ({removal.model.name}): {RULES[rule]}\n{result}")
        found.append(bool(result.violation))
    return all(held) and all(found)


def print_full_findings() -> bool:
    """Print the statistics of each model with all rules together, and of those with wider bounds.

    Returns: whether each of them held.
    """
    results = [_explore(complete(run.model)) for run in RUNS]
    results += [_explore(model) for model in BEYOND]
    return not any(result.violation for result in results)


def _explore(model: Model) -> Result:
    began = time.process_time()
    result = explore(model)
    acts = f", {model.acts} acts" if model.acts else ""
    _say(f"{model.name} ({model.faults} faults{acts}): {result} ({time.process_time() - began:.1f} s)")
    return result


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.protocol_model", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all rules together, and wider bounds")
    is_full = parser.parse_args().full
    sys.exit(0 if (print_full_findings() if is_full else print_findings()) else 1)
