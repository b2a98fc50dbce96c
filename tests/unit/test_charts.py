"""Charts: every value inside the picture, no two texts over each other, and the same numbers in words."""

from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.operators.presentation.drawing import axes
from sagas.operators.presentation.drawing.charts import (
    FONT_SIZE,
    TEXT,
    WIDTH,
    Chart,
    Part,
    Series,
    draw_lines,
    draw_stack,
    draw_trend,
)

HOURS = [Part(tick=f"{hour:02}:37", label=f"{hour:02}:37 to {hour + 1:02}:37 UTC") for hour in range(24)]
HOSTILE = "<script>\u202e'\"&"
COUNTS = st.lists(st.sampled_from([0, 1, 7, 1_000, 10**12]), min_size=24, max_size=24)
SPANS = st.lists(st.none() | st.floats(0, 1e12), min_size=24, max_size=24)


def name_values(name: str, role: str, values: list[float | None]) -> Series:
    texts = tuple("-" if value is None else f"{value:g}" for value in values)
    return Series(name=name, role=role, values=tuple(values), texts=texts)


def stack(*values: list[int], line: list[int] | None = None) -> Chart:
    roles = ("good", "back", "muted", "bad")
    stacked = [name_values(role, role, [*found]) for role, found in zip(roles, values, strict=False)]
    begun = line or [0] * 24
    highest = max([*map(sum, zip(*values, strict=True)), *begun])
    started = name_values("started", "run", [*begun])
    return draw_stack(HOURS, stacked, started, axes.fit_counts(highest), unit="Sagas per hour", summary="All well.")


def lines(values: list[float | None]) -> Chart:
    axis = axes.fit_log_spans([value for value in values if value is not None])
    return draw_lines(HOURS, [name_values("median", "run", values)], axis, unit="Time", summary="Slow.")


def parse(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg)  # noqa: S314 - drawn here


def list_texts(chart: Chart) -> list[tuple[float, float, float, str]]:
    """Return left, right, baseline and text of each line of text that is always visible."""
    found = []
    for text in parse(chart).iter("text"):
        if text.get("class") != "saga-reading":
            x, length = float(text.attrib["x"]), len(text.text or "") * TEXT
            left = x - length if text.get("text-anchor") == "end" else x
            found.append((left, left + length, float(text.attrib["y"]), text.text or ""))
    return found


def list_collisions(chart: Chart) -> list[tuple[str, str]]:
    return [
        (one[3], other[3])
        for one, other in combinations(list_texts(chart), 2)
        if abs(one[2] - other[2]) < FONT_SIZE and one[0] < other[1] and other[0] < one[1]
    ]


def assert_inside(chart: Chart) -> None:
    svg = parse(chart)
    width, height = (float(size) for size in svg.attrib["viewBox"].split()[2:])
    for bar in svg.iter("rect"):
        x, y, wide, high = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + wide <= width + 0.01
        assert y >= 0
        assert y + high <= height + 0.01
    for point in svg.iter("circle"):
        assert 0 <= float(point.attrib["cx"]) <= width
        assert 0 <= float(point.attrib["cy"]) <= height
    for left, right, baseline, _ in list_texts(chart):
        assert left >= 0
        assert right <= width + 0.01
        assert baseline + 1 >= FONT_SIZE
        assert baseline <= height


@given(COUNTS, COUNTS, COUNTS)
def test_stack_of_any_counts_fits_and_nothing_collides(one: list[int], other: list[int], begun: list[int]) -> None:
    chart = stack(one, other, line=begun)

    assert_inside(chart)
    assert list_collisions(chart) == []


@given(SPANS)
def test_lines_of_any_spans_fit_and_nothing_collides(values: list[float | None]) -> None:
    chart = lines(values)

    assert_inside(chart)
    assert list_collisions(chart) == []
    assert chart.svg.count("<circle") == sum(value is not None for value in values)


def test_stack_has_the_values_in_its_bars_groups_and_table() -> None:
    chart = stack([3] + [0] * 23, [1, 2] + [0] * 22, line=[5] + [0] * 23)

    svg = parse(chart)
    assert svg.attrib["aria-label"] == chart.summary == "All well."
    points = [group for group in svg.iter("g") if group.get("class") == "saga-point"]
    assert [point.findtext("title") for point in points] == [
        "00:37 to 01:37 UTC: good 3, back 1, started 5", "01:37 to 02:37 UTC: back 2",
    ]  # fmt: skip
    assert {point.get("tabindex") for point in points} == {"0"}
    assert chart.heads == ("good", "back", "started")
    assert chart.rows[0] == ("00:37 to 01:37 UTC", "3", "1", "5")
    heights = [float(bar.attrib["height"]) for bar in svg.iter("rect") if bar.get("fill") and bar.get("rx") is None]
    [good, back, later] = heights[2:]
    assert good == pytest.approx(3 * back, abs=0.02)
    assert later == pytest.approx(2 * back, abs=0.02)


def test_one_among_a_billion_is_visible() -> None:
    chart = stack([1, 10**9] + [0] * 22)

    heights = [float(bar.attrib["height"]) for bar in parse(chart).iter("rect") if bar.get("fill")]
    assert min(heights[1:]) == 1.5


def test_gap_interrupts_a_line() -> None:
    chart = lines([1.0, 2.0, None, 4.0] + [None] * 20)

    paths = [
        path.attrib["d"] for path in parse(chart).iter("path") if path.get("stroke") and path.get("d", "")[0] == "M"
    ]
    assert [path.count("L") for path in paths if "h" not in path] == [1, 0]
    assert chart.svg.count("<circle") == 3


def test_hostile_text_is_escaped() -> None:
    part = Part(tick=HOSTILE, label=HOSTILE)
    chart = draw_lines(
        [part], [name_values(HOSTILE, "run", [1.0])], axes.fit_spans(1), unit=HOSTILE, summary=HOSTILE
    )  # fmt: skip

    assert "<script>" not in chart.svg
    assert "\u202e" not in chart.svg
    assert parse(chart).attrib["aria-label"] == HOSTILE.replace("\u202e", "\\u202e")


def test_chart_without_parts_is_an_empty_frame() -> None:
    chart = draw_lines([], [name_values("median", "run", [])], axes.fit_log_spans([]), unit="Time", summary="")

    assert (chart.rows, "<circle" in chart.svg) == ((), False)


def test_trend_names_its_highest_value() -> None:
    chart = draw_trend([0, 2, 40], ["a", "b", "c"], summary="x")

    assert [text.text for text in parse(chart).iter("text")] == ["40", "0"]
    assert list_collisions(chart) == []
    assert [text.text for text in parse(draw_trend([0, 0], ["a", "b"])).iter("text")] == []


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0, ["0", "1"]), (1, ["0", "1"]), (3, ["0", "1", "2", "3"]), (7, ["0", "2", "4", "6", "8"]),
        (1000, ["0", "500", "1,000"]), (90_000, ["0", "50k", "100k"]),
        (10**15, ["0", "500tn", "1000tn"]),
    ],
)  # fmt: skip
def test_counts_have_round_ticks(highest: float, labels: list[str]) -> None:
    assert [label for _, label in axes.fit_counts(highest).ticks] == labels


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0, ["0", "1 s"]), (7, ["0", "2 s", "4 s", "6 s", "8 s"]), (200, ["0", "1 min", "2 min", "3 min", "4 min"]),
        (5 * 86_400, ["0", "2 d", "4 d", "6 d"]),
    ],
)  # fmt: skip
def test_spans_have_ticks_that_are_round_on_a_clock(highest: float, labels: list[str]) -> None:
    assert [label for _, label in axes.fit_spans(highest).ticks] == labels


@pytest.mark.parametrize(
    ("spans", "labels"),
    [
        ([], ["1 s", "10 s", "1 min"]), ([0.0], ["1 ms", "10 ms"]), ([2.0, 30.0], ["1 s", "10 s", "1 min"]),
        ([10.0], ["10 s", "1 min"]), ([0.01, 90_000.0], ["10 ms", "1 s", "1 min", "1 h", "10 d"]),
    ],
)  # fmt: skip
def test_logarithmic_axis_begins_and_ends_at_a_tick(spans: list[float], labels: list[str]) -> None:
    assert [label for _, label in axes.fit_log_spans(spans).ticks] == labels


@given(st.lists(st.floats(0, 1e15), min_size=1))
def test_logarithmic_axis_is_in_order_and_has_few_ticks(spans: list[float]) -> None:
    axis = axes.fit_log_spans(spans)

    values = [value for value, _ in axis.ticks]
    assert all(one < other for one, other in pairwise(values))
    assert 2 <= len(values) <= axes.MAX_LOG_TICKS
    assert all(0 <= axis.place(span) <= 1 for span in spans)
    assert values[-1] >= max(spans)


def test_wide_chart_has_a_fixed_width() -> None:
    assert parse(stack([1] * 24)).attrib["width"] == f"{WIDTH:g}"
