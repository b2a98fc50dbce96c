"""Graph of one saga: its stored steps, the state of each, and what the code declares for them."""

from django.templatetags.static import static
from django.utils.safestring import SafeString

from ...choreography.definition import find
from ...core.states import Kind
from ...engine.store.snapshot import SagaSnapshot
from ...models import SagaStep
from ...operators.presentation import badge_of_step
from ...operators.presentation.drawing.graph import Mark, Node, describe_nodes, draw_graph
from ...operators.presentation.graph import KIND_WORDS, list_nodes
from ..ui.page_selection import Selection, Tab

ICONS = "sagas/icons.svg"


def draw_saga(snapshot: SagaSnapshot, selection: Selection) -> SafeString:
    """Return the graph as SVG; if the code's definition is missing or differs, it shows the stored steps alone."""
    declared = _list_declared(snapshot)
    nodes = [
        Node(
            name=step.name,
            kind=Kind(step.kind),
            rank=step.rank,
            lines=declared.get(step.name, (KIND_WORDS[Kind(step.kind)],)),
            mark=_mark(step, snapshot, selection),
        )
        for step in snapshot.steps
    ]
    saga = snapshot.saga
    picture = draw_graph(
        nodes, name="saga-graph", title=f"Graph of {saga.definition}, version {saga.version}",
        description=describe_nodes(nodes), stands_alone=False,
    )  # fmt: skip
    return SafeString(picture)


def _list_declared(snapshot: SagaSnapshot) -> dict[str, tuple[str, ...]]:
    """Return the lines below each step's name that the code knows."""
    if snapshot.definition is not None:
        return {node.name: node.lines for node in list_nodes(snapshot.definition)}
    choreography = find(snapshot.saga.definition, snapshot.saga.version) if snapshot.saga.is_choreographed else None
    if choreography is None:
        return {}
    return {step.name: (KIND_WORDS[step.kind], step.participant) for step in choreography.steps}


def _mark(step: SagaStep, snapshot: SagaSnapshot, selection: Selection) -> Mark:
    badge = badge_of_step(step, snapshot.saga)
    return Mark(
        word=badge.text,
        tone=badge.tone.value,
        icon_url=f"{static(ICONS)}#{badge.icon}",
        url=f"{selection.url_of_tab(Tab.STEPS, step.name)}#steps",
        is_chosen=step.name == selection.step,
    )
