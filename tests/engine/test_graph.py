import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from sagas import Compensatable, Parallel, Pivot, Retriable, SagaDefinition, nothing_to_undo
from sagas.core.definition import registry
from sagas.core.states import Kind
from sagas.operators.presentation.drawing.graph import Mark, Node, describe_nodes, draw_graph
from sagas.operators.presentation.graph import describe, draw_mermaid, draw_svg, list_nodes
from tests.commands.cases import define_trip, trips

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def trip() -> Iterator[type[SagaDefinition]]:
    with trips() as definition:
        yield definition


def parse(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - the project's own picture


def texts(picture: ET.Element) -> list[str]:
    return [str(text.text) for text in picture.iter(f"{SVG}text")]


def groups(picture: ET.Element, css_class: str) -> list[ET.Element]:
    return [group for group in picture.iter(f"{SVG}g") if css_class in group.get("class", "").split()]


def place(group: ET.Element) -> tuple[float, float, float, float]:
    box = next(group.iter(f"{SVG}rect"))
    return tuple(float(box.get(name, "nan")) for name in ("x", "y", "width", "height"))  # type: ignore[return-value]


def test_every_step_has_a_box_with_name_kind_and_location(trip: type[SagaDefinition]) -> None:
    picture = parse(draw_svg(trip))

    assert [texts(group) for group in groups(picture, "saga-step")] == [
        ["book_flight", "compensatable ↩", "sagas, local"],
        ["book_hotel", "compensatable ↩", "sagas, local"],
        ["book_car", "compensatable ↩", "sagas, local"],
        ["pay", "pivot ◆", "sagas, external"],
        ["send_tickets", "retriable ↻", "sagas, local"],
    ]


def test_kinds_differ_in_shape_too(trip: type[SagaDefinition]) -> None:
    picture = parse(draw_svg(trip))

    def shape(kind: str) -> tuple[int, set[str | None]]:
        boxes = list(groups(picture, f"kind-{kind}")[0].iter(f"{SVG}rect"))
        return len(boxes), {box.get("rx") for box in boxes}

    shapes = [shape(kind) for kind in ("compensatable", "pivot", "retriable")]

    assert len({str(found) for found in shapes}) == 3
    assert shapes[1][0] == 2


def test_steps_are_stacked_and_parallel_ones_stand_in_a_row(trip: type[SagaDefinition]) -> None:
    picture = parse(draw_svg(trip))
    flight, hotel, car, pay, tickets = map(place, groups(picture, "saga-step"))

    for above, below in pairwise((flight, hotel, pay, tickets)):
        assert above[1] + above[3] < below[1]
    assert hotel[1] == car[1]
    assert hotel[0] + hotel[2] < car[0]
    assert len(groups(picture, "saga-group")) == 1
    x, y, width, height = place(groups(picture, "saga-group")[0])
    assert x < hotel[0]
    assert y < hotel[1]
    assert x + width > car[0] + car[2]
    assert y + height > car[1] + car[3]


def test_everything_is_inside_the_picture(trip: type[SagaDefinition]) -> None:
    picture = parse(draw_svg(trip))
    _, _, width, height = map(float, picture.get("viewBox", "").split())

    for box in picture.iter(f"{SVG}rect"):
        assert float(box.get("x", "-1")) >= 0
        assert float(box.get("x", "0")) + float(box.get("width", "0")) <= width
        assert float(box.get("y", "0")) + float(box.get("height", "0")) <= height


def test_one_arrow_leads_from_every_rank_to_the_next(trip: type[SagaDefinition]) -> None:
    assert len(list(parse(draw_svg(trip)).iter(f"{SVG}path"))) == 3


def test_graph_has_a_text_alternative(trip: type[SagaDefinition]) -> None:
    picture = parse(draw_svg(trip))
    title, description = picture.find(f"{SVG}title"), picture.find(f"{SVG}desc")

    assert picture.get("role") == "img"
    assert picture.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == "Saga trip, version 1"
    assert description.text == describe(trip)
    assert description.text == (
        "1: book_flight (compensatable). 2: book_hotel (compensatable) and book_car (compensatable), in parallel."
        " 3: pay (pivot). 4: send_tickets (retriable)."
    )


def test_standalone_graph_has_light_and_dark_colours(trip: type[SagaDefinition]) -> None:
    style = parse(draw_svg(trip)).find(f"{SVG}style")

    assert "prefers-color-scheme:dark" in str(style.text)


def test_embedded_graph_has_no_style_element(trip: type[SagaDefinition]) -> None:
    text = draw_svg(trip, stands_alone=False)

    assert "style" not in text
    assert set(re.findall(r'(?:fill|stroke)="([^"]+)"', text)) == {"none", "currentColor"}


def test_states_of_a_saga_are_labelled_marked_and_linked(trip: type[SagaDefinition]) -> None:
    picture = parse(draw_marked(trip, {"book_flight": "succeeded", "pay": "outcome unknown"}, chosen="pay"))

    assert picture.get("role") == "group"  # links inside role="img" would be lost
    [pay] = groups(picture, "saga-chosen")
    assert texts(pay) == ["pay", "pivot ◆", "sagas, external", "outcome unknown"]
    assert [use.get("href") for use in pay.iter(f"{SVG}use")] == ["/icons.svg#outcome unknown"]
    links = {link.get("href"): link.get("aria-label") for link in picture.iter(f"{SVG}a")}
    assert links == {
        "?step=book_flight": "book_flight, compensatable: succeeded",
        "?step=pay": "pay, pivot: outcome unknown",
    }
    assert "pay (pivot, outcome unknown)" in str(picture.find(f"{SVG}desc").text)


def draw_marked(definition: type[SagaDefinition], states: dict[str, str], chosen: str = "") -> str:
    nodes = [
        replace(
            node,
            mark=Mark(
                word=states[node.name], tone="good", icon_url=f"/icons.svg#{states[node.name]}",
                url=f"?step={node.name}", is_chosen=node.name == chosen,
            ) if node.name in states else None,
        )
        for node in list_nodes(definition)
    ]  # fmt: skip
    description = describe_nodes(nodes)
    return draw_graph(nodes, name="one", title="One", description=description, stands_alone=False)


@pytest.mark.parametrize("count", [2, 4, 5, 12])
def test_wide_groups_wrap_inside_their_frame(count: int) -> None:
    nodes = [Node(name=f"step_{n}", kind=Kind.COMPENSATABLE, rank=1, lines=()) for n in range(count)]
    first = Node(name="first", kind=Kind.COMPENSATABLE, rank=0, lines=())

    picture = parse(draw_graph([first, *nodes], name="wide", title="Wide", description="", stands_alone=False))

    boxes = [place(group) for group in groups(picture, "saga-step")][1:]
    x, y, width, height = place(groups(picture, "saga-group")[0])
    assert len({box[1] for box in boxes}) == -(-count // 4)
    assert len({box[:2] for box in boxes}) == count
    for box in boxes:
        assert x < box[0]
        assert box[0] + box[2] < x + width
        assert y < box[1]
        assert box[1] + box[3] < y + height


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (16, 1), (17, 2), (60, 4)])
def test_long_definitions_wrap_into_columns(count: int, columns: int) -> None:
    nodes = [Node(name=f"step_{n}", kind=Kind.COMPENSATABLE, rank=n, lines=("a", "b")) for n in range(count)]

    picture = parse(draw_graph(nodes, name="tall", title="Tall", description="", stands_alone=False))

    boxes = [place(group) for group in groups(picture, "saga-step")]
    assert len({box[0] for box in boxes}) == columns
    assert len({box[:2] for box in boxes}) == count
    for one, other in pairwise(boxes):
        assert one[1] + one[3] < other[1] or one[0] + one[2] < other[0]
    assert len(list(picture.iter(f"{SVG}path"))) == count - 1
    assert float(picture.get("width", "0")) < 1200
    assert float(picture.get("height", "0")) < 2000


def test_empty_graph_is_valid() -> None:
    picture = parse(draw_graph([], name="empty", title="Empty", description="No steps.", stands_alone=False))

    assert texts(picture) == []
    assert float(picture.get("width", "0")) > 0


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img onerror=x>', "a&b", "]]>", "' onload='x"])
def test_text_is_escaped_everywhere(evil: str, trip: type[SagaDefinition]) -> None:
    with registry.preserved():

        class Evil(SagaDefinition):
            first = Compensatable(lambda step: None, nothing_to_undo)

            class Meta:
                name = "evil"

        object.__setattr__(Evil.steps[0], "participant", evil)  # no declaration can name it so
        alone, picture = draw_svg(Evil), parse(draw_marked(Evil, {"first": evil}))
        mermaid = draw_mermaid(Evil)

    for drawn in (picture, parse(alone)):
        assert {element.tag.removeprefix(SVG) for element in drawn.iter()} <= {
            "svg", "title", "desc", "style", "text", "g", "rect", "path", "a", "use",
        }  # fmt: skip
        assert all(not name.startswith("on") for element in drawn.iter() for name in element.attrib)
        assert f"{evil}, local" in texts(drawn)
    assert "<script" not in mermaid
    assert "<img" not in mermaid
    assert mermaid.count('"') == 2


def test_boxes_fit_long_names() -> None:
    with registry.preserved():
        name = "a" * 60

        class Long(SagaDefinition):
            steps_side_by_side = Parallel(
                **{name: Compensatable(lambda step: None, nothing_to_undo), "b": Compensatable(print, nothing_to_undo)}
            )

            class Meta:
                name = "long"

        picture = parse(draw_svg(Long))

    for group in groups(picture, "saga-step"):
        assert place(group)[2] >= 60 * 7.8


def test_missing_action_own_queue_and_nothing_to_undo_are_labelled() -> None:
    with registry.preserved():

        class Told(SagaDefinition):
            place = Compensatable(compensation=print, participant="sagas")
            quote = Compensatable(print, nothing_to_undo, participant="sagas", queue="quotes")
            pay = Pivot(print, participant="sagas")
            ship = Retriable(print, participant="sagas", queue="sagas")

            class Meta:
                name = "told"

        lines = [texts(group) for group in groups(parse(draw_svg(Told)), "saga-step")]

    assert lines[0][2] == "sagas, with the start"
    assert lines[1][1:] == ["compensatable ↩ nothing to undo", "sagas, local, queue quotes"]
    assert lines[3][2] == "sagas, local"


def test_mermaid(trip: type[SagaDefinition]) -> None:
    assert (
        draw_mermaid(trip)
        == """---
title: Saga trip, version 1
---
flowchart TD
  s_book_flight["book_flight<br/>compensatable ↩<br/>sagas, local"]
  subgraph parallel1["in parallel"]
    s_book_hotel["book_hotel<br/>compensatable ↩<br/>sagas, local"]
    s_book_car["book_car<br/>compensatable ↩<br/>sagas, local"]
  end
  s_pay{{"pay<br/>pivot ◆<br/>sagas, external"}}
  s_send_tickets(["send_tickets<br/>retriable ↻<br/>sagas, local"])
  s_book_flight --> s_book_hotel
  s_book_flight --> s_book_car
  s_book_hotel --> s_pay
  s_book_car --> s_pay
  s_pay --> s_send_tickets"""
    )


def test_graphs_of_two_versions_fit_on_one_page(trip: type[SagaDefinition]) -> None:
    with registry.preserved():
        other = define_trip(version=2)

        names = set(re.findall(r' id="([^"]+)"', draw_svg(trip) + draw_svg(other)))

    assert names == {"saga-trip-1-title", "saga-trip-1-desc", "saga-trip-2-title", "saga-trip-2-desc"}
