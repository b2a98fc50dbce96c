"""Random definitions, faults, operators and time: nothing is lost, nothing happens twice, everything ends.

A failure prints the moves that lead to it and the transcript of the saga. The default run is the same every time;
``--hypothesis-seed=N`` makes another and repeats it; ``SAGAS_MACHINE_EXAMPLES=5000`` makes a long one, from a new seed
that is printed when it fails. With that, or ``CHAOS=full``, what goes wrong without a rule is also looked for by
chance, from one seed, where chance comes by it soon; ``test_removed_rules`` tells it of each rule, move by move.
"""

import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import run_state_machine_as_test

from tests.depth import IS_FULL

from .machine import SagaMachine
from .removals import OFTEN, REMOVALS, SELDOM
from .stage import Does

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("apart")]

# About a quarter of a minute of processor time per hundred.
EXAMPLES = 300 if IS_FULL else 75
MOVES = 30
LONG_RUN = "SAGAS_MACHINE_EXAMPLES"
REACHED = frozenset({
    "ended completed", "ended compensated", "ended abandoned", "pivot_passed", "late_answer", "compensation_reopened",
    *(f"action {does}" for does in Does),
})  # fmt: skip


@pytest.fixture(autouse=True)
def _independent_examples() -> Iterator[None]:
    """Draw every run afresh, and the same whatever else is loaded.

    Most of hypothesis' budget would go to slightly changed copies of a run, which repeat the same few faults, and some
    of its draws to constants of the modules that happen to be loaded.
    """
    with (
        patch.object(ConjectureRunner, "generate_mutations_from", lambda _runner, _data: None),
        patch.object(HypothesisProvider, "_maybe_draw_constant", lambda _provider, _type, _constraints, p=0: None),
    ):
        yield


def is_default(config: pytest.Config) -> bool:
    """Return whether neither a seed nor a longer run was requested."""
    return LONG_RUN not in os.environ and config.getoption("--hypothesis-seed") is None


def make_profile(config: pytest.Config) -> settings:
    """Return the number of examples, and the seed."""
    return settings(
        max_examples=int(os.environ.get(LONG_RUN, EXAMPLES)),
        stateful_step_count=MOVES,
        derandomize=is_default(config),
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def test_nothing_is_lost_and_everything_ends(pytestconfig: pytest.Config) -> None:
    SagaMachine.seen.clear()
    run_state_machine_as_test(SagaMachine, settings=make_profile(pytestconfig))
    assert SagaMachine.seen["ended completed"] > 0
    if is_default(pytestconfig):
        assert sorted(REACHED - set(SagaMachine.seen)) == []


if IS_FULL or LONG_RUN in os.environ:
    MOST = SELDOM if LONG_RUN in os.environ else OFTEN

    @pytest.mark.parametrize(
        "rule", [rule for rule, removal in REMOVALS.items() if (removal.within or MOST + 1) <= MOST]
    )
    def test_without_a_rule_random_runs_find_a_violation(rule: str, pytestconfig: pytest.Config) -> None:
        removal = REMOVALS[rule]
        chance = settings(
            make_profile(pytestconfig),
            max_examples=removal.within,
            derandomize=True,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
        )
        with removal.remove(), pytest.raises(removal.errors, match=removal.expected):
            run_state_machine_as_test(SagaMachine, settings=chance)
