"""Time scale of pictures: linear where something runs, long gaps cut out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.operators.presentation.drawing.timescale import MAX_CUTS, MIN_WIDTH, NARROW_CUT, WIDTH, TimeScale, fit_scale

HOUR = 3600.0


def list_cuts(scale: TimeScale) -> list[tuple[float, float]]:
    return [(stretch.start, stretch.end) for stretch in scale.stretches if stretch.is_cut]


def test_axis_is_linear_without_long_gaps() -> None:
    scale = fit_scale([(0, 1), (2, 3), (9, 10)], 0, 10)

    assert list_cuts(scale) == []
    assert [scale.place(moment) for moment in (0, 2.5, 5, 10)] == [0, WIDTH / 4, WIDTH / 2, WIDTH]


def test_long_gap_is_cut_out_and_the_rest_stays_linear() -> None:
    scale = fit_scale([(0, 1), (1, 2), (HOUR, HOUR + 1)], 0, HOUR + 1)

    assert list_cuts(scale) == [(2, HOUR)]
    assert scale.place(1) - scale.place(0) == pytest.approx(scale.place(HOUR + 1) - scale.place(HOUR))
    assert scale.width == pytest.approx(WIDTH)


def test_exponential_waits_are_not_cut() -> None:
    starts = [0, 0.5, 1.5, 3.5, 7.5, 15.5]

    assert list_cuts(fit_scale([(start, start + 0.05) for start in starts], 0, 16)) == []


def test_frequent_and_hourly_attempts_are_both_visible() -> None:
    often = [(second, second + 0.2) for second in range(0, 60, 2)]
    hourly = [(HOUR * n, HOUR * n + 0.2) for n in range(1, 11)]

    scale = fit_scale([*often, *hourly], 0, HOUR * 10 + 1)

    assert len(list_cuts(scale)) == 10
    assert scale.place(60) > 250


def test_hourly_attempts_alone_are_not_cut() -> None:
    assert list_cuts(fit_scale([(HOUR * n, HOUR * n + 2) for n in range(200)], 0, HOUR * 200)) == []


def test_long_wait_at_the_end_is_cut_if_it_crowds_the_rest() -> None:
    assert list_cuts(fit_scale([(0, 0.01)], 0, HOUR)) == []
    assert list_cuts(fit_scale([(0, 0.01), (0.01, 0.02)], 0, HOUR)) == [(0.02, HOUR)]


@pytest.mark.parametrize("spans", [[], [(0.0, 0.0)], [(5.0, 5.0)] * 3])
def test_empty_range_has_a_width(spans: list[tuple[float, float]]) -> None:
    scale = fit_scale(spans, 0, 0)

    assert scale.width > 0
    assert scale.place(0) == 0
    assert scale.tick > 0


@given(st.lists(st.tuples(st.floats(-10, 1e6), st.floats(0, 1e5)), max_size=60), st.floats(0, 1e6))
def test_every_scale_is_complete_ordered_and_bounded(found: list[tuple[float, float]], end: float) -> None:
    scale = fit_scale([(start, start + length) for start, length in found], 0, end)

    assert scale.stretches[0].start == 0
    assert scale.stretches[0].left == 0
    for one, other in pairwise(scale.stretches):
        assert (one.end, one.right) == (other.start, other.left)
    assert len(list_cuts(scale)) <= MAX_CUTS
    assert scale.width <= WIDTH + MIN_WIDTH + MAX_CUTS * NARROW_CUT
    moments = sorted(moment for start, length in found for moment in (start, start + length))
    places = [scale.place(moment) for moment in moments]
    assert places == sorted(places)
    assert all(0 <= place <= scale.width for place in places)
