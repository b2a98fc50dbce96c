"""What is owed in a choreography, by whom and because of which events. Pure: no Django import.

A saga is over exactly when nothing is owed. An event counts once, however often it is sent.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..core.states import StepState


@dataclass(frozen=True, kw_only=True)
class StepRule:
    """What one step expects, by the stored names of events."""

    name: str
    after: tuple[str, ...]
    """Its beginnings: once all are recorded, its answer is owed."""
    success: tuple[str, ...]
    """Its good answer: all of them."""
    refusal: tuple[str, ...] = ()
    """Its other answers: any of them."""
    undone: tuple[str, ...] = ()
    """What undoes a reported success: all of them."""
    is_pivot: bool = False
    is_undoable: bool = True
    """Whether it comes before the pivot; with nothing to undo, it counts as undone once the saga is cancelled."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What all steps of a choreography expect."""

    steps: tuple[StepRule, ...]
    begins_with: str
    """Sent by who starts the saga, so it counts as recorded."""
    cancelled_by: str
    senders: Mapping[str, str]
    """The sender of each event."""
    unsent: frozenset[str] = field(default_factory=frozenset)
    """Events that their foreign sender is not declared to send; nobody owes them."""

    def keep_sent(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of some events that are sent."""
        return tuple(name for name in names if name not in self.unsent)

    @property
    def pivot(self) -> StepRule:
        """The step that decides: its success or the event that cancels."""
        return next(step for step in self.steps if step.is_pivot)

    def contradict(self, recorded: Collection[str]) -> bool:
        """Return whether the recorded events say both that it was decided and that it was not."""
        place = self.steps.index(self.pivot)
        onwards = {name for step in self.steps[place:] for name in step.success}
        back = {self.cancelled_by, *(name for step in self.steps for name in (*step.refusal, *step.undone))}
        return not onwards.isdisjoint(recorded) and not back.isdisjoint(recorded)

    @property
    def refusals(self) -> frozenset[str]:
        """Events that make the cancelling event owed."""
        return frozenset(name for step in self.steps for name in step.refusal)


@dataclass(frozen=True, kw_only=True)
class Debt:
    """Event that one participant owes; any of ``types`` pays it."""

    step: str
    by: str
    types: tuple[str, ...]
    causes: tuple[str, ...]
    """Events because of which it is owed."""
    is_undoing: bool = False
    """Whether a reported effect must be undone."""


def list_debts(rules: Rules, recorded: Collection[str]) -> list[Debt]:
    """Return what is owed after the recorded events, in the order of the steps."""
    seen = {*recorded, rules.begins_with}
    found = [
        debt
        for step in rules.steps
        for list_of in (_list_answers, _list_undoing)
        for debt in list_of(rules, step, seen)
    ]
    return [replace(debt, types=types) for debt in found if (types := rules.keep_sent(debt.types))]


def judge_step(rules: Rules, step: StepRule, recorded: Collection[str]) -> StepState:
    """Return the state of a step after the recorded events."""
    seen = {*recorded, rules.begins_with}
    success, undone = rules.keep_sent(step.success), rules.keep_sent(step.undone)
    if success and seen.issuperset(success):
        if rules.cancelled_by not in seen or not step.is_undoable or (step.undone and not undone):
            return StepState.SUCCEEDED
        return StepState.COMPENSATED if seen.issuperset(undone) else StepState.COMPENSATING
    is_due = seen.issuperset(step.after)
    if step.is_pivot:
        is_due = is_due or not seen.isdisjoint(rules.refusals)
        if rules.cancelled_by in seen:
            return StepState.REFUSED if is_due else StepState.PENDING
    if not seen.isdisjoint(step.refusal):
        return StepState.REFUSED
    return StepState.WAITING if is_due else StepState.PENDING


def has_effect(step: StepRule, recorded: Collection[str]) -> bool:
    """Return whether a step reported an effect that must be undone once the saga is cancelled, and is not."""
    return bool(step.undone) and not {*recorded}.isdisjoint(step.success) and not {*recorded}.issuperset(step.undone)


def _list_answers(rules: Rules, step: StepRule, seen: set[str]) -> Iterator[Debt]:
    """Yield the answers that a step owes, one for each sender of what is missing."""
    causes = step.after if seen.issuperset(step.after) else ()
    others = step.refusal
    if step.is_pivot:
        others = (rules.cancelled_by,)
        refused = tuple(name for name in rules.refusals if name in seen)
        causes = causes or refused
        if refused and rules.cancelled_by not in seen:
            # Whatever was decided: after a refusal only the cancelling event ends the saga.
            yield Debt(step=step.name, by=rules.senders[rules.cancelled_by], types=others, causes=refused)
            return
    if not causes or not seen.isdisjoint(others):
        return
    missing = [name for name in step.success if name not in seen]
    for sender in dict.fromkeys(rules.senders[name] for name in missing):
        own = tuple(name for name in (*missing, *others) if rules.senders[name] == sender)
        for types in [own] if others else [(name,) for name in own]:
            yield Debt(step=step.name, by=sender, types=types, causes=causes)


def _list_undoing(rules: Rules, step: StepRule, seen: set[str]) -> Iterator[Debt]:
    """Yield what must be undone once the saga is cancelled."""
    if rules.cancelled_by not in seen or not has_effect(step, seen):
        return
    reported = tuple(name for name in step.success if name in seen)
    for name in step.undone:
        if name not in seen:
            yield Debt(
                step=step.name, by=rules.senders[name], types=(name,), causes=(rules.cancelled_by, *reported),
                is_undoing=True,
            )  # fmt: skip
