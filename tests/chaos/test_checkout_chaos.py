"""Checkouts while processes and servers die repeatedly: each accepted one ends once and correctly."""

from dataclasses import replace
from pathlib import Path

from sagas.core.states import Coordination

from .checkout_chaos import Plan, run_chaos
from .kinds import CANCELLED, CONFIRMED, KINDS, NEEDS_PERSON
from .settling import find_lost_business, find_share_confirmed, find_wrong_ends
from .testbed import EVENT_ENGINE, open_testbed

# ``make chaos`` has 5,000 checkouts and longer pauses between faults of one kind.
SHORT = Plan(
    calm=20,
    checkouts=120,
    seconds=20,
    per_second=4,
    worker_seconds=(2.0, 5.0),
    broker_seconds=(3.0, 4.0),
    database_seconds=(4.0, 6.0),
    web_seconds=(6.0, 9.0),
)
EVERY_FAULT = {
    "worker killed", "worker's child killed", "web process killed", "broker flushed", "broker frozen", "broker killed",
    "database ended (fast)", "database ended (immediate)", "database ended (killed)",
}  # fmt: skip

SHORT_BY_EVENTS = replace(
    SHORT,
    coordination=Coordination.CHOREOGRAPHY,
    calm=8,
    checkouts=40,
    seconds=10,
    event_seconds=(2.0, 4.0),
    stream_seconds=(2.0, 4.0),
)
EVERY_FAULT_OF_EVENTS = EVERY_FAULT | {"consumer killed", "relay killed", "stream trimmed", "group lost"}


def test_nothing_is_lost_in_chaos(tmp_path: Path) -> None:
    """The report also fails if fewer than nine in ten of the checkouts that work were confirmed."""
    with open_testbed(tmp_path, step_seconds=0.05) as testbed:
        report = run_chaos(testbed, SHORT)

    assert report.wrong == [], report.render()
    assert set(report.injected) == EVERY_FAULT
    assert report.lost_workers > 0
    assert report.accepted > SHORT.calm


def test_nothing_is_lost_or_owed_in_chaos_by_events(tmp_path: Path) -> None:
    with open_testbed(tmp_path, engine=EVENT_ENGINE, step_seconds=0.05) as testbed:
        report = run_chaos(testbed, SHORT_BY_EVENTS)

    assert report.wrong == [], report.render()
    assert set(report.injected) == EVERY_FAULT_OF_EVENTS
    assert report.accepted > SHORT_BY_EVENTS.calm


def test_cancelling_or_holding_everything_is_detected() -> None:
    works, declined = KINDS[0], next(kind for kind in KINDS if kind.name == "declined")
    kinds = {**{f"works-{number}": works for number in range(10)}, "declined": declined}
    confirmed = {**dict.fromkeys(kinds, CONFIRMED), "declined": CANCELLED}
    two_lost = {**confirmed, "works-0": CANCELLED, "works-1": NEEDS_PERSON}

    assert list(find_wrong_ends(kinds, two_lost)) == []
    assert find_share_confirmed(kinds, confirmed) == 1
    assert find_lost_business(find_share_confirmed(kinds, {**confirmed, "works-0": CANCELLED})) == []
    assert find_lost_business(find_share_confirmed(kinds, two_lost)) == [
        "80.0% of those that work were confirmed, not 90%"
    ]
