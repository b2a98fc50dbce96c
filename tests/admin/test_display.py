import re
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sagas import clock
from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.core.states import Attention, Hold
from sagas.models import Saga, SagaStep
from sagas.operators import operations, presentation
from sagas.operators.presentation import DisplayState, StepDisplay
from sagas.operators.presentation.badges import SAGA_BADGES, STEP_BADGES, in_words
from sagas.operators.presentation.sentences import count_attempts
from sagas.operators.presentation.times import describe_distance, describe_span
from sagas.testing import assert_invariants, drain, faults
from sagas.testing.drain import look

from . import trips

NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
STATES = {
    "pending": DisplayState.PENDING,
    "running": DisplayState.RUNNING,
    "waiting_for_retry": DisplayState.WAITING_FOR_RETRY,
    "waiting_for_answer": DisplayState.WAITING_FOR_ANSWER,
    "unknown": DisplayState.OUTCOME_UNKNOWN,
    "held_unknown": DisplayState.HELD,
    "misconfigured": DisplayState.HELD,
    "paused": DisplayState.HELD,
    "definition_missing": DisplayState.HELD,
    "contract_violation": DisplayState.HELD,
    "retries_exhausted": DisplayState.RETRIES_EXHAUSTED,
    "overdue": DisplayState.OVERDUE,
    "compensating": DisplayState.COMPENSATING,
    "compensation_failing": DisplayState.COMPENSATION_FAILING,
    "compensation_refused": DisplayState.HELD,
    "completed": DisplayState.COMPLETED,
    "compensated": DisplayState.COMPENSATED,
    "abandoned": DisplayState.ABANDONED,
}
REASONS = {
    "held_unknown": ["outcome_unknown"],
    "misconfigured": ["misconfigured"],
    "paused": ["paused"],
    "definition_missing": ["definition_missing"],
    "contract_violation": ["contract_violation"],
    "retries_exhausted": ["retries_exhausted"],
    "compensation_failing": ["compensation_failing"],
    "compensation_refused": ["compensation_refused"],
}


def read_all(saga: Saga) -> tuple[Saga, list[SagaStep], datetime]:
    found = Saga.objects.get(pk=saga.pk)
    return found, list(found.steps.order_by("position")), clock.read_now(get_settings().database)


@pytest.mark.django_db
def test_every_state_is_the_same_in_python_and_in_sql() -> None:
    sagas = {name: maker() for name, maker in trips.MAKERS.items()}
    assert sagas.keys() == STATES.keys()

    for name, saga in sagas.items():
        assert_invariants(saga.pk)
        assert presentation.judge_saga(*read_all(saga)) is STATES[name], name

    annotated = dict(presentation.annotate_display_state(Saga.objects.all()).values_list("pk", "display_state"))
    for name, saga in sagas.items():
        assert annotated[saga.pk] == STATES[name].value, name
    for state in DisplayState:
        found = set(presentation.filter_by_display(Saga.objects.all(), state).values_list("pk", flat=True))
        assert found == {saga.pk for name, saga in sagas.items() if STATES[name] is state}, state


@pytest.mark.django_db
def test_every_attention_reason_is_found() -> None:
    sagas = {name: maker() for name, maker in trips.MAKERS.items()}

    for reason in (*Hold, *Attention):
        found = set(presentation.filter_by_reason(Saga.objects.all(), reason.value).values_list("pk", flat=True))
        assert found == {sagas[name].pk for name, reasons in REASONS.items() if reason.value in reasons}, reason
    needing = set(Saga.objects.filter(presentation.needs_operator()).values_list("pk", flat=True))
    assert needing == {sagas[name].pk for name in REASONS}
    for name, saga in sagas.items():
        found, steps, _ = read_all(saga)
        assert presentation.reasons_of(found, steps) == REASONS.get(name, []), name


@pytest.mark.django_db
def test_open_sagas_are_counted_by_definition_and_state() -> None:
    for name in ("pending", "paused", "misconfigured", "completed", "compensated", "abandoned"):
        trips.MAKERS[name]()
    trips.start(trips.TourSaga)

    assert presentation.count_open() == [
        {"definition": "tour", "display_state": "pending", "count": 1},
        {"definition": "trip", "display_state": "held", "count": 2},
        {"definition": "trip", "display_state": "pending", "count": 1},
    ]


@pytest.mark.django_db
def test_overdue_is_decided_by_the_engines_clock() -> None:
    saga = trips.make_waiting_for_retry()

    with clock.restored():
        clock.move(timedelta(minutes=61))
        assert presentation.judge_saga(*read_all(saga)) is DisplayState.OVERDUE
        assert presentation.filter_by_display(Saga.objects.all(), DisplayState.OVERDUE).get().pk == saga.pk
    assert not presentation.filter_by_display(Saga.objects.all(), DisplayState.OVERDUE).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("maker", "step", "expected"),
    [
        ("pending", "book_hotel", StepDisplay.NOT_STARTED),
        ("running", "book_hotel", StepDisplay.RUNNING),
        ("waiting_for_retry", "book_hotel", StepDisplay.WAITING_FOR_RETRY),
        ("waiting_for_answer", "book_flight", StepDisplay.WAITING_FOR_ANSWER),
        ("unknown", "book_flight", StepDisplay.OUTCOME_UNKNOWN),
        ("held_unknown", "pay", StepDisplay.HELD),
        ("retries_exhausted", "send_tickets", StepDisplay.RETRIES_EXHAUSTED),
        ("compensating", "book_flight", StepDisplay.COMPENSATION_WAITING),
        ("compensation_failing", "book_flight", StepDisplay.COMPENSATION_FAILING),
        ("compensated", "book_hotel", StepDisplay.COMPENSATED),
        ("compensated", "book_flight", StepDisplay.REFUSED),
        ("compensated", "pay", StepDisplay.NEVER_RAN),
        ("completed", "send_tickets", StepDisplay.SUCCEEDED),
    ],
)
def test_step_states_are_distinguished(maker: str, step: str, expected: StepDisplay) -> None:
    saga = trips.MAKERS[maker]()

    assert presentation.judge_step(saga.steps.get(name=step), saga) is expected


@pytest.mark.django_db
def test_held_and_assumed_show_the_reason() -> None:
    saga = trips.make_held_unknown()
    assert presentation.badge_of_saga(*read_all(saga)).text == "held: outcome unknown"
    assert presentation.badge_of_step(saga.steps.get(name="pay"), saga).text == "held: outcome unknown"

    evidence = "The bank's own page says so."
    operations.mark_succeeded(saga.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence=evidence)
    assert presentation.badge_of_step(saga.steps.get(name="pay"), saga).text == "succeeded: decided by an operator"
    told = presentation.explain(*read_all(saga), reader=trips.BOSS, with_errors=True)
    assert told.why == ("An operator decided pay; the history shows who, and on what evidence.",)


@pytest.mark.django_db
def test_skipped_step_is_not_shown_as_done() -> None:
    saga = trips.make_contract_violation()
    operations.skip_step(saga.pk, actor=trips.BOSS, reason=trips.REASON, step="send_tickets")

    told = presentation.explain(*read_all(drain(saga)), reader=trips.BOSS, with_errors=True)

    assert told.headline.startswith("Every step is done except send_tickets, skipped by an operator. It took ")
    assert told.why == ()


def test_late_answer_is_shown_on_a_closed_saga() -> None:
    saga = Saga(definition="tour", version=1, state="compensated", created_at=NOW, closed_at=NOW, attention=[])
    step = SagaStep(saga=saga, name="book", position=0, rank=0, state="compensated", epoch=1)

    told = presentation.explain(saga, [step], NOW, reader=trips.BOSS, with_errors=True)

    assert told.why == ("A late answer of book came after its compensation began, so it was compensated again.",)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("maker", "headline"),
    [
        ("running", "book_hotel is running, until "),
        ("waiting_for_retry", "book_hotel failed (attempt 1 of 5) and is tried again in "),
        ("waiting_for_answer", "The participant is still working on book_flight; it is asked again in "),
        ("unknown", "book_flight may have happened. It is asked again, under the same key, in "),
        ("held_unknown", "The saga is held at pay (outcome unknown): nothing happens there until an operator acts."),
        ("paused", "The saga is held (paused): nothing happens until an operator acts."),
        ("definition_missing", "The saga is held: the code has no version 3 of trip. It continues by itself as soon"),
        ("retries_exhausted", "send_tickets must succeed and has used all its attempts; it is tried again in "),
        ("overdue", "The saga goes forward and is past its deadline by "),
        ("compensating", "The compensation of book_flight is tried again in "),
        ("compensation_failing", "The compensation of book_flight has used all its attempts; its effect remains."),
        ("completed", "Every step is done. It took "),
        ("compensated", "The saga turned back and no effect is left. It took "),
        ("abandoned", "An operator abandoned the saga; left behind: book_hotel, book_flight."),
    ],
)
def test_headline_shows_the_present_step(maker: str, headline: str) -> None:
    account = presentation.explain(*read_all(trips.MAKERS[maker]()), reader=trips.BOSS, with_errors=True)

    assert account.headline.startswith(headline)


@pytest.mark.django_db
def test_errors_are_hidden_where_they_must_not_be_shown() -> None:
    saga = trips.make_compensation_failing()

    seen = presentation.explain(*read_all(saga), reader=trips.BOSS, with_errors=True)
    hidden = presentation.explain(*read_all(saga), reader=trips.BOSS, with_errors=False)

    assert seen.why == (
        "It turned back because pay refused: tests.admin.trips.CardDeclined: No money.",
        "book_flight: RuntimeError: The airline is closed.",
    )
    assert hidden.why == (
        "It turned back because pay refused: tests.admin.trips.CardDeclined",
        "book_flight: RuntimeError",
    )


@pytest.mark.django_db
def test_lost_and_missing_workers_are_shown() -> None:
    running, waiting = trips.make_running(), trips.make_pending()

    with clock.restored():
        clock.move(timedelta(minutes=5))
        assert (
            "not reported: the lease ended"
            in presentation.explain(*read_all(running), reader=trips.BOSS, with_errors=True).headline
        )
        advice = presentation.explain(*read_all(waiting), reader=trips.BOSS, with_errors=True).advice
    assert advice == ("It has been due, unclaimed, for 5 min: check that a worker serves queue sagas.",)


@pytest.mark.django_db
def test_missing_definition_hides_the_limit_only() -> None:
    saga = trips.make_waiting_for_retry()

    with registry.preserved():
        registry.forget("trip", 3)
        headline = presentation.explain(*read_all(saga), reader=trips.BOSS, with_errors=True).headline

    assert headline.startswith("book_hotel failed (attempt 1) and is tried again in ")


SIDE_BY_SIDE = {
    "exhausted": {"state": "waiting", "waiting_for": "retry", "attention": "retries_exhausted"},
    "live": {"state": "running", "lease_token": uuid4(), "lease_until": NOW + timedelta(minutes=1)},
    "unknown": {"state": "unknown"},
    "retry": {"state": "waiting", "waiting_for": "retry"},
    "answer": {"state": "waiting", "waiting_for": "answer"},
}


def make_side_by_side(*kinds: str, state: str = "running") -> tuple[Saga, list[SagaStep]]:
    """Return an unsaved tour with bookings of these kinds, in this order."""
    saga = Saga(definition="tour", version=1, state=state, created_at=NOW, attention=[])
    steps = [SagaStep(saga=saga, name="open_file", position=0, rank=0, state="succeeded")]
    for position, kind in enumerate(kinds, start=1):
        facts: dict[str, Any] = dict(SIDE_BY_SIDE[kind])
        saga.attention = [facts["attention"]] if "attention" in facts else saga.attention
        due_at = None if "lease_token" in facts else NOW + timedelta(minutes=position)
        steps.append(SagaStep(saga=saga, name=kind, position=position, rank=1, due_at=due_at, **facts))
    return saga, steps


@pytest.mark.parametrize(("first", "second"), list(combinations(SIDE_BY_SIDE, 2)))
def test_headline_of_a_group_shows_the_step_that_determines_the_state(first: str, second: str) -> None:
    headlines = set()
    for kinds in ((first, second), (second, first)):
        saga, steps = make_side_by_side(*kinds)
        at = presentation.current_step(saga, steps)
        assert at is not None
        assert at.name == first
        headlines.add(
            presentation.explain(saga, steps, NOW, reader=trips.BOSS, with_errors=True).headline.split(" in ")[0]
        )
    [headline] = headlines
    assert first in headline
    assert second not in headline


def test_failing_compensation_is_shown() -> None:
    for order in (0, 1), (1, 0):
        waiting = {"state": "compensating", "waiting_for": "retry"}
        facts = [
            {**waiting, "name": "failing", "attention": "compensation_failing"},
            {"state": "compensating", "name": "live", "lease_token": uuid4(), "lease_until": NOW},
        ]
        saga = Saga(definition="tour", version=1, state="compensating", attention=["compensation_failing"])
        steps = [
            SagaStep(
                saga=saga,
                position=place,
                rank=1,
                due_at=None if "lease_until" in facts[number] else NOW,
                **facts[number],
            )
            for place, number in enumerate(order)
        ]

        at = presentation.current_step(saga, steps)

        assert at is not None
        assert at.name == "failing"


@pytest.mark.django_db
def test_attempts_are_counted_against_the_current_budget() -> None:
    saga = trips.make_compensation_failing()
    step = saga.steps.get(name="book_flight")
    assert count_attempts(step, saga) == "10 of 10"

    operations.retry_now(saga.pk, actor=trips.BOSS, reason=trips.REASON)
    with faults() as fault:
        fault.refuse("book_flight", RuntimeError("The airline is closed."), direction=trips.BACK, times=2)
        look(saga.pk)
    step.refresh_from_db()

    assert (step.budget_used, step.compensation_attempts) == (1, 11)
    assert count_attempts(step, saga) == "1 of 10, 11 in all"
    step.budget_used = 11
    assert count_attempts(step, saga) == "11, past its budget of 10"


@pytest.mark.django_db
def test_polls_use_no_budget_and_are_counted_separately() -> None:
    saga = trips.make_waiting_for_answer()

    assert count_attempts(saga.steps.get(name="book_flight"), saga) == "0 of 5, 1 in all"
    assert count_attempts(saga.steps.get(name="book_hotel"), saga) == "1 of 5"


def test_every_state_has_a_badge_with_more_than_a_colour() -> None:
    assert SAGA_BADGES.keys() == set(DisplayState)
    assert STEP_BADGES.keys() == set(StepDisplay)
    assert all(badge.word and badge.icon for badge in (*SAGA_BADGES.values(), *STEP_BADGES.values()))
    words = [badge.word for badge in SAGA_BADGES.values()]
    assert len(set(words)) == len(words)


def test_every_state_and_hold_is_documented_in_the_guide() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "operating.md").read_text()
    section = guide.partition("## What a state means and what to do\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^- \*\*(.*?)\*\*:", section, re.MULTILINE)

    held = [f"held: {in_words(hold.value)}" for hold in Hold]
    states = [badge.word for state, badge in SAGA_BADGES.items() if state is not DisplayState.HELD]
    attention = [in_words(reason.value) for reason in Attention if reason.value not in {*DisplayState}]
    assert sorted(shown) == sorted([*states, *held, *attention])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"), (0.25, "250 ms"), (9.9, "9.9 s"), (10, "10 s"), (59.9, "59 s"), (60, "1 min"), (61, "1 min 1 s"),
        (3600, "1 h"), (3605, "1 h"), (3725, "1 h 2 min"), (86_400 * 3 + 7_300, "3 d 2 h"),
    ],
)  # fmt: skip
def test_durations_are_short(seconds: float, expected: str) -> None:
    assert describe_span(timedelta(seconds=seconds)) == expected


def test_relative_time_has_a_direction() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert describe_distance(now + timedelta(minutes=2), now) == "in 2 min"
    assert describe_distance(now - timedelta(minutes=2), now) == "2 min ago"
    assert describe_distance(now + timedelta(milliseconds=979), now) == "in 1 s"
    assert describe_distance(now - timedelta(milliseconds=3400), now) == "3 s ago"
    assert describe_distance(now - timedelta(milliseconds=400), now) == "now"
