"""Severity: money unknown first, closed sagas last, and every reason has its place."""

import pytest

from sagas.core.severity import BY_CODE, Severity, judge_severity
from sagas.core.states import Attention, Hold, SagaState


def test_every_reason_has_a_severity_and_asks_for_an_operator() -> None:
    assert set(BY_CODE) == {reason.value for reason in (*Hold, *Attention)}
    assert max(BY_CODE.values()) < Severity.OPEN < Severity.CLOSED


def test_the_most_severe_reason_counts() -> None:
    reasons = ["paused", "overdue", "outcome_unknown", "retries_exhausted"]

    assert judge_severity("running", reasons) is Severity.OUTCOME_UNKNOWN
    assert judge_severity("compensating", ["overdue", "compensation_failing"]) is Severity.EFFECT_REMAINS
    assert judge_severity("running", []) is Severity.OPEN


@pytest.mark.parametrize("state", SagaState)
def test_closed_sagas_come_last_whatever_is_left_of_their_reasons(state: SagaState) -> None:
    found = judge_severity(state.value, ["late_effect"])

    assert found is (Severity.LATE if state.is_open else Severity.CLOSED)
