"""Test sagas without a worker or a broker: drain them, break them at a named step, compare what happened.

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
from .faults import Faults, SimulatedCrash, faults
from .invariants import assert_invariants, effect_of, find_violations, outcomes_of
from .transcripts import assert_transcript, transcript

__all__ = [
    "Faults",
    "NotDrained",
    "SimulatedCrash",
    "assert_invariants",
    "assert_transcript",
    "drain",
    "effect_of",
    "faults",
    "find_violations",
    "outcomes_of",
    "pass_time",
    "transcript",
]
