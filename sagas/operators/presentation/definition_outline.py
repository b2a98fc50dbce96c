"""Outlines of definitions, from the code or from stored steps, and the differences between two of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import SequenceMatcher

from ...conf import get_settings
from ...core.definition import inputs
from ...core.definition.saga import SagaDefinition
from ...core.definition.steps import Step
from ...core.retry import RetryPolicy
from ...core.states import Direction, Kind
from ...models import SagaStep
from .drawing.graph import Node
from .graph import KIND_WORDS, list_nodes
from .times import describe_span


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Retry settings of one direction of a step as they take effect."""

    direction: Direction
    attempts: str
    backoff: str
    """Delays within the budget, before jitter."""
    limit: str
    """Time after which the budget ends."""
    after_budget: str
    """What follows the budget."""
    timeout: str
    """Time-out of one attempt."""
    source: str
    """Where the policy is from."""

    def list_facts(self) -> Iterator[tuple[str, str]]:
        """Yield what can differ between two versions, by name."""
        yield "attempts", self.attempts
        yield "delays", self.backoff
        yield "time limit", self.limit
        yield "after the budget", self.after_budget
        yield "time-out", self.timeout


@dataclass(frozen=True, kw_only=True)
class StepOutline:
    """Step of a definition, in words."""

    node: Node
    """Its place in the graph."""
    facts: Mapping[str, str]
    """What can differ between two versions, by name."""
    retries: tuple[Retries, ...] = ()
    """Of action and compensation; empty for a stored step."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Definition in words."""

    steps: tuple[StepOutline, ...]
    facts: Mapping[str, str]
    """What can differ between two versions beside the steps."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference between two outlines."""

    step: str
    """Empty: of the definition itself."""
    text: str


def outline_definition(definition: type[SagaDefinition]) -> Outline:
    """Return the outline of a definition in the code."""
    steps = zip(definition.steps, list_nodes(definition), strict=True)
    names = {
        step.rank: [other.name for other in definition.steps if other.rank == step.rank] for step in definition.steps
    }
    schema = inputs.describe(definition.input) or []
    return Outline(
        steps=tuple(_outline_step(step, node, names[step.rank]) for step, node in steps),
        facts={
            "input": ", ".join(f"{name}: {kind}" for name, kind in schema) or "none",
            "deadline": describe_span(definition.deadline) if definition.deadline else "none",
        },
    )


def outline_stored(steps: Sequence[SagaStep]) -> Outline:
    """Return the outline of a definition that the code does not have, from the steps of a saga."""
    nodes = [
        Node(name=step.name, kind=Kind(step.kind), rank=step.rank, lines=(KIND_WORDS[Kind(step.kind)],))
        for step in steps
    ]
    return Outline(steps=tuple(StepOutline(node=node, facts={"kind": node.kind.value}) for node in nodes), facts={})


def list_differences(old: Outline, new: Outline) -> Iterator[Difference]:
    """Yield what changed from one outline to another; of stored steps, only names, order and kinds are known."""
    for name, before, after in _list_changed(old.facts, new.facts):
        yield Difference(step="", text=f"{name}: {before} → {after}")
    befores, afters = ({step.name: step for step in outline.steps} for outline in (old, new))
    for name in befores:
        if name not in afters:
            yield Difference(step=name, text="removed")
    moved = _find_moved([name for name in befores if name in afters], [name for name in afters if name in befores])
    for name, after_step in afters.items():
        if name not in befores:
            yield Difference(step=name, text="added")
            continue
        if name in moved:
            yield Difference(step=name, text="moved")
        for fact, before, after in _list_changed(befores[name].facts, after_step.facts):
            yield Difference(step=name, text=f"{fact}: {before} → {after}")


def _outline_step(step: Step, node: Node, group: Sequence[str]) -> StepOutline:
    retries = tuple(_list_retries(step))
    facts = {"kind": step.kind.value, "runs": node.lines[-1]}
    facts["in parallel with"] = ", ".join(sorted({*group} - {step.name})) or "none"
    for one in (Direction.ACTION, Direction.COMPENSATION):
        found = next((known for known in retries if known.direction is one), None)
        facts[one.value] = "yes" if found else "none"
        facts |= {f"{name} of the {one.value}": text for name, text in (found.list_facts() if found else ())}
    return StepOutline(node=node, facts=facts, retries=retries)


def _list_retries(step: Step) -> Iterator[Retries]:
    settings = get_settings()
    for direction in Direction:
        if step.function(direction) is None:
            continue
        own = step.retry if direction is Direction.ACTION else step.compensation_retry
        policy = settings.policy(step, direction)
        yield Retries(
            direction=direction,
            attempts=str(policy.attempts),
            backoff=_describe_backoff(policy),
            limit="none" if policy.max_elapsed is None else _show(policy.max_elapsed),
            after_budget=_describe_end(policy, step, direction),
            timeout=describe_span(settings.attempt_timeout(step, direction)),
            source="step" if own else "project",
        )


def _describe_backoff(policy: RetryPolicy) -> str:
    first, most = _show(policy.base), _show(policy.cap)
    return f"{first} each" if policy.factor == 1 else f"{first}, then times {policy.factor:g}, at most {most}"


def _describe_end(policy: RetryPolicy, step: Step, direction: Direction) -> str:
    if direction is Direction.ACTION and step.kind is not Kind.RETRIABLE:
        return (
            "the saga turns back" if step.kind is Kind.COMPENSATABLE else "the saga turns back, or is held if unknown"
        )
    return f"every {_show(policy.cap if policy.after_budget is None else policy.after_budget)}"


def _show(seconds: float) -> str:
    return describe_span(timedelta(seconds=seconds)) if seconds else "0 s"


def _list_changed(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, old and new value of the facts that both have and that differ."""
    yield from ((name, before, new[name]) for name, before in old.items() if name in new and new[name] != before)


def _find_moved(old: Sequence[str], new: Sequence[str]) -> set[str]:
    """Return the names that stand in another order."""
    blocks: Iterable[tuple[int, int, int]] = SequenceMatcher(a=old, b=new, autojunk=False).get_matching_blocks()
    return set(old) - {name for first, _, size in blocks for name in old[first : first + size]}
