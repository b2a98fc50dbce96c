"""Pictures of definitions: SVG with its own layout, or Mermaid text.

Words and shapes show the kind, not colour alone. All text is escaped. The drawing itself uses presentation attributes
and ``currentColor`` only, so it also works inside a page with a strict content security policy.
"""

from itertools import pairwise

from ...conf import get_settings
from ...core.definition.saga import SagaDefinition
from ...core.definition.steps import Step, nothing_to_undo
from ...core.states import Kind
from ...participants.routing import participant_label
from .drawing.graph import Node, describe_nodes, draw_graph, list_ranks

KIND_WORDS = {
    Kind.COMPENSATABLE: "compensatable ↩", Kind.PIVOT: "pivot ◆", Kind.RETRIABLE: "retriable ↻",
}  # fmt: skip


def draw_svg(definition: type[SagaDefinition], *, stands_alone: bool = True) -> str:
    """Return a definition as an SVG document.

    ``stands_alone``: with its own colours for light and dark; False: inside a page, which provides them.
    """
    title = _title(definition)
    return draw_graph(
        list_nodes(definition), name=f"saga-{definition.name}-{definition.version}", title=title, caption=title,
        description=describe(definition), stands_alone=stands_alone,
    )  # fmt: skip


def list_nodes(definition: type[SagaDefinition]) -> list[Node]:
    """Return the steps as nodes of the picture."""
    return [
        Node(name=step.name, kind=step.kind, rank=step.rank, lines=_describe_step(definition, step))
        for step in definition.steps
    ]


def draw_mermaid(definition: type[SagaDefinition]) -> str:
    """Return a definition as a Mermaid flowchart."""
    lines = ["---", f"title: {_title(definition)}", "---", "flowchart TD"]
    ranks = list_ranks(list_nodes(definition))
    for number, rank in enumerate(ranks):
        if len(rank) > 1:
            lines.append(f'  subgraph parallel{number}["in parallel"]')
            lines += [f"    {_mermaid_node(node)}" for node in rank]
            lines.append("  end")
        else:
            lines.append(f"  {_mermaid_node(rank[0])}")
    for before, after in pairwise(ranks):
        lines += [f"  s_{upper.name} --> s_{lower.name}" for upper in before for lower in after]
    return "\n".join(lines)


def describe(definition: type[SagaDefinition]) -> str:
    """Return a definition in sentences, for readers who do not see the picture."""
    return describe_nodes(list_nodes(definition))


def _title(definition: type[SagaDefinition]) -> str:
    return f"Saga {definition.name}, version {definition.version}"


def _describe_step(definition: type[SagaDefinition], step: Step) -> tuple[str, str]:
    """Return the two lines below the name of a step: its kind, and where it runs."""
    where = participant_label(definition, step) or "no participant"
    place = "with the start" if step.action is None else "external" if step.external else "local"
    queue = f", queue {step.queue}" if step.queue and step.queue != get_settings().common_queue else ""
    kind = KIND_WORDS[step.kind]
    if step.compensation is nothing_to_undo:
        kind += " nothing to undo"
    return kind, f"{where}, {place}{queue}"


def _mermaid_node(node: Node) -> str:
    opening, closing = {
        Kind.COMPENSATABLE: ("[", "]"), Kind.PIVOT: ("{{", "}}"), Kind.RETRIABLE: ("([", "])"),
    }[node.kind]  # fmt: skip
    text = "<br/>".join(_escape_mermaid(line) for line in (node.name, *node.lines))
    return f's_{node.name}{opening}"{text}"{closing}'


def _escape_mermaid(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
