"""Negative controls of lost commits and workers: without a rule, the test that covers it fails."""

from dataclasses import replace

import pytest

from sagas.core import outcomes
from sagas.engine import advance
from tests.removed import Control

from . import test_s11_crashes as kept
from .boundaries import AFTER_COMMIT, BEFORE_COMMIT
from .world import World

pytestmark = pytest.mark.full

Patch = pytest.MonkeyPatch


def believe_every_commit(patch: Patch) -> None:
    patch.setattr(advance, "_is_recorded", lambda *_what: True)


def repeat_every_commit(patch: Patch) -> None:
    patch.setattr(advance, "_is_recorded", lambda *_what: False)


def count_no_lost_worker(patch: Patch) -> None:
    report = outcomes.lost_worker
    patch.setattr(outcomes, "lost_worker", lambda **who: replace(report(**who), is_counted=False))


CONTROLS = {
    "a COMMIT without an answer is read again: it may not be there": Control(
        remove=believe_every_commit,
        play=lambda world: kept.test_s11_nothing_is_called_before_its_claim_is_committed(world, BEFORE_COMMIT, True),
        told=r"\['b'",
    ),
    "a COMMIT without an answer is read again: it may be there": Control(
        remove=repeat_every_commit,
        play=lambda world: kept.test_s11_an_unanswered_commit_is_looked_up_and_not_blindly_repeated(
            world, AFTER_COMMIT
        ),
        told="assert 'running' == ",
    ),
    "a lost worker counts": Control(
        remove=count_no_lost_worker,
        play=kept.test_s11_a_step_that_kills_every_worker_is_given_up,
        told=r"assert \('completed', ",
    ),
}


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("rule", CONTROLS)
def test_without_a_rule_about_what_is_lost_its_test_fails(world: World, rule: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(advance, "RECORD_PAUSE_SECONDS", 0)
    with pytest.MonkeyPatch.context() as patch:
        CONTROLS[rule].fail_without(patch, world)
