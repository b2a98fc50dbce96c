"""Timeline of a saga: attempts, waits and compensations, in any number."""

from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from sagas import clock
from sagas.admin.saga_page.timeline_view import draw_attempts, list_legend
from sagas.admin.ui.page_selection import Selection, Tab
from sagas.engine.store.snapshot import SagaSnapshot
from sagas.models import Saga, SagaAttempt
from sagas.operators import operations
from sagas.operators.presentation.drawing.timeline import TIMES
from sagas.testing import drain

from . import large_sagas, trips
from .pages import LogIn, page_of

pytestmark = pytest.mark.django_db

SVG = "{http://www.w3.org/2000/svg}"
SECOND = timedelta(seconds=1)


def draw(saga: Saga, step: str = "") -> ET.Element:
    snapshot = SagaSnapshot.find(saga.pk)
    assert snapshot is not None
    return ET.fromstring(draw_attempts(snapshot, Selection(tab=Tab.TIMELINE, step=step)))  # noqa: S314


def groups(picture: ET.Element, css_class: str) -> list[ET.Element]:
    return [group for group in picture.iter(f"{SVG}g") if css_class in group.get("class", "").split()]


def titles(picture: ET.Element, css_class: str) -> list[str]:
    return [str(group.find(f"{SVG}title").text) for group in groups(picture, css_class)]  # type: ignore[union-attr]


def box(group: ET.Element) -> dict[str, float]:
    rectangle: Any = group.find(f"{SVG}rect")
    return {name: float(rectangle.get(name)) for name in ("x", "y", "width", "height")}


def lanes(picture: ET.Element) -> list[str | None]:
    return [link.get("aria-label") for group in groups(picture, "saga-lane") for link in group.iter(f"{SVG}a")]


@pytest.mark.parametrize("maker", trips.MAKERS)
def test_every_attempt_is_a_bar_in_every_state(maker: str) -> None:
    saga = trips.MAKERS[maker]()
    attempts = SagaAttempt.objects.filter(saga=saga)

    if not attempts:
        assert draw_attempts(SagaSnapshot.find(saga.pk), Selection()) == ""  # type: ignore[arg-type]
        return
    told = titles(draw(saga), "saga-attempt")

    assert len(told) == attempts.count()
    for attempt in attempts.select_related("step"):
        wanted = f"{attempt.step.name}, {attempt.direction} {attempt.number}: "
        assert sum(title.startswith(wanted) for title in told) == 1


def test_compensations_are_mirrored_below_the_axis() -> None:
    picture = draw(drain(trips.make_compensating()))

    assert lanes(picture) == [
        "book_hotel, action: 1 attempts", "book_flight, action: 1 attempts", "pay, action: 1 attempts",
        "book_flight, compensation: 2 attempts", "book_hotel, compensation: 1 attempts",
    ]  # fmt: skip
    axis = float(next(path for group in groups(picture, "saga-axis") for path in group.iter(f"{SVG}path")).get("d", "")
                 .split(" ")[1].split("v")[0])  # fmt: skip
    for group, title in zip(groups(picture, "saga-attempt"), titles(picture, "saga-attempt"), strict=True):
        assert (box(group)["y"] > axis) == ("compensation" in title)


def test_bars_are_positioned_by_time() -> None:
    saga = trips.start()
    large_sagas.add_attempts(saga, "book_hotel", [(SECOND, 2 * SECOND), (4 * SECOND, 6 * SECOND)])
    Saga.objects.filter(pk=saga.pk).update(created_at=saga.created_at)

    first, second = map(box, groups(draw(saga), "saga-attempt"))

    assert second["width"] == pytest.approx(2 * first["width"], rel=0.01)
    assert second["x"] - first["x"] == pytest.approx(3 * first["width"], rel=0.01)


def test_waiting_is_hatched() -> None:
    waiting = draw(trips.make_held_unknown())

    told = titles(waiting, "saga-wait")
    assert all(title.startswith("pay waited ") and title.endswith(", after unknown") for title in told)
    assert len(told) == 4
    assert titles(draw(trips.make_contract_violation()), "saga-wait")[-1].endswith("held, contract violation")
    assert all(
        rectangle.get("fill") == "url(#saga-hatch)"
        for group in groups(waiting, "saga-wait")
        for rectangle in group.iter(f"{SVG}rect")
    )
    assert titles(draw(trips.make_completed()), "saga-wait") == []


def test_live_and_lost_attempts_differ() -> None:
    saga = trips.make_running()
    assert [title.split(": ")[1].split(",")[0] for title in titles(draw(saga), "saga-attempt")] == ["live"]

    saga.steps.filter(name="book_hotel").update(lease_until=saga.created_at - SECOND)

    assert "live, its lease has ended" in titles(draw(saga), "saga-attempt")[0]


def test_operators_statements_are_marked_as_such() -> None:
    saga = trips.make_held_unknown()
    operations.mark_succeeded(saga.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence="Seen at the bank.")

    assert [title for title in titles(draw(saga), "saga-attempt") if "succeeded (decided by an operator)" in title]


@pytest.mark.parametrize("count", [300, 3000])
def test_hundreds_of_attempts_stay_bounded(count: int) -> None:
    saga = large_sagas.age(trips.make_compensation_failing(), timedelta(hours=count + 1))
    hours = [(timedelta(hours=hour), timedelta(hours=hour, seconds=1)) for hour in range(1, count)]
    large_sagas.add_attempts(saga, "book_flight", hours, direction="compensation")

    picture = draw(saga)

    assert float(picture.get("width", "0")) < 1200
    assert float(picture.get("height", "0")) < 400
    assert len(groups(picture, "saga-attempt")) < 200
    assert len(ET.tostring(picture)) < 100_000
    counts = [str(text.text) for text in picture.iter(f"{SVG}text") if str(text.text).startswith(TIMES)]
    assert sum(int(text[1:]) for text in counts) > count * 0.9
    assert f"book_flight, compensation: {count + 9} attempts" in lanes(picture)


def test_long_gaps_are_cut_out_and_labelled() -> None:
    saga = trips.start()
    day = timedelta(days=1)
    large_sagas.add_attempts(saga, "book_hotel", [(0 * SECOND, SECOND), (SECOND, 2 * SECOND), (day, day + SECOND)])
    Saga.objects.filter(pk=saga.pk).update(created_at=saga.created_at)

    assert "23 h 59 min without anything, not drawn to scale" in titles(draw(saga), "saga-cut")


def test_deadline_and_end_are_marked() -> None:
    saga = large_sagas.age(trips.make_overdue(), timedelta(hours=1))
    Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at + timedelta(milliseconds=1))
    closed = trips.make_completed()

    def marks(picture: ET.Element) -> list[str]:
        return [str(text.text) for group in groups(picture, "saga-mark") for text in group.iter(f"{SVG}text")]

    assert marks(draw(saga)) == ["now", "deadline"]
    assert marks(draw(closed)) == ["completed"]
    Saga.objects.filter(pk=saga.pk).update(deadline_at=clock.read_now("default"))
    assert marks(draw(saga)) == ["now"]  # too close for both
    assert "deadline" in titles(draw(saga), "saga-mark")


def test_selected_step_is_marked_and_every_lane_links_to_its_step() -> None:
    picture = draw(trips.make_completed(), step="pay")

    [chosen] = groups(picture, "saga-chosen")
    [link] = chosen.iter(f"{SVG}a")
    assert link.get("href") == "?tab=timeline&step=pay#attempts"
    assert link.get("aria-current") == "true"


def test_hostile_names_stay_text() -> None:
    saga = trips.make_completed()
    evil = "<script>alert(1)</script>\"'&\u202e\x07"
    saga.steps.filter(name="pay").update(name=evil)
    Saga.objects.filter(pk=saga.pk).update(definition="<b>trip")

    picture = draw(saga)

    assert {element.tag.removeprefix(SVG) for element in picture.iter()} <= {
        "svg", "title", "desc", "defs", "pattern", "g", "rect", "path", "text", "use", "a",
    }  # fmt: skip
    assert any("<script>alert(1)" in title for title in titles(picture, "saga-attempt"))
    assert "\u202e" not in ET.tostring(picture, encoding="unicode")


def test_legend_names_every_outcome_once(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()
    snapshot = SagaSnapshot.find(saga.pk)
    assert snapshot is not None

    assert [badge.word for badge in list_legend(snapshot)] == ["succeeded", "refused", "unknown"]
    text = log_in("viewer").get(page_of(saga, "timeline")).content.decode()
    assert text.split('aria-label="Legend"')[1].split("</ul>")[0].count("saga-badge") == 3
    assert 'role="group" aria-labelledby="saga-timeline-title saga-timeline-desc"' in text
