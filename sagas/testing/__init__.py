"""Test kit: drains sagas without worker or broker, plants faults at named steps, compares transcripts.

::

    def test_declined_card_leaves_nothing_reserved(db):
        with faults() as fault:
            fault.refuse("authorize_payment", PaymentDeclined("no"))
            saga = drain(start_checkout())
        assert saga.state == "compensated"
        assert_invariants(saga.pk)

No test framework is imported; use it with pytest, unittest or a shell.
"""

from .drain import NotDrained, drain, pass_time
from .explorer import Exploration, Verdict, assert_explored, explore
from .faults import Faults, SimulatedCrash, faults
from .invariants import assert_invariants, effect_of, find_violations, outcomes_of
from .scenario import Scenario, register_scenario
from .transcripts import assert_transcript, transcript
from .trials import Trial
from .verdicts import render_exploration

__all__ = [
    "Exploration", "Faults", "NotDrained", "Scenario", "SimulatedCrash", "Trial", "Verdict", "assert_explored",
    "assert_invariants", "assert_transcript", "drain", "effect_of", "explore", "faults", "find_violations",
    "outcomes_of", "pass_time", "register_scenario", "render_exploration", "transcript",
]  # fmt: skip
