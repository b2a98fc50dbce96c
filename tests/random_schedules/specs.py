"""Random definitions: kinds, groups, places, budgets, deadlines and kinds of compensation."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from hypothesis import strategies as st

from sagas import Compensatable, Parallel, Pivot, Retriable, RetryPolicy, SagaDefinition
from sagas.core.states import Kind

from .world import CannotUndo, Refused, World

OWN_DATABASE = "inventory"  # participant that the tests give a separate connection
SLOW_QUEUE = "slow"
VERIFY_AFTER = timedelta(seconds=45)
MAX_STEPS = 6
# The sweep reads the real clock, so moments of a run are further apart than a statement takes when busy.
RETRY_SECONDS = 10


class Place(StrEnum):
    """Where a step runs."""

    JOINED = "joined"  #: local, in the engine's database
    EXTERNAL = "external"  #: outside, announced by its attempt row
    APART = "apart"  #: local, in a database of the participant's own
    ANNOUNCED = "announced"  #: outside, behind a barrier row in the participant's own database

    @property
    def is_external(self) -> bool:
        """Return whether the provider does the work."""
        return self in (Place.EXTERNAL, Place.ANNOUNCED)


class Undo(StrEnum):
    """How an adapter prevents an effect of a late call (rule S4)."""

    CLOSES = "closes"  #: closes the key at the provider
    SETTLES = "settles"  #: repeats the action first
    VERIFIES = "verifies"  #: can do neither, and asks for a second look


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One step."""

    place: Place = Place.JOINED
    undo: Undo = Undo.CLOSES
    stores_refusals: bool = False
    """Whether a refusal of the provider answers for the whole key."""
    attempts: int = 2
    elapsed_seconds: float | None = None
    compensation_attempts: int = 2
    is_slow: bool = False
    """Whether only some workers serve its queue."""
    is_done: bool = False
    """Whether it is done together with the start."""
    kind: Kind = Kind.COMPENSATABLE
    name: str = ""
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class SagaSpec:
    """One definition."""

    ranks: tuple[tuple[StepSpec, ...], ...]
    deadline_seconds: int | None = None

    @property
    def steps(self) -> list[StepSpec]:
        """Return the steps in order, with their names."""
        return list(_name_steps(self.ranks))


def _name_steps(ranks: tuple[tuple[StepSpec, ...], ...]) -> Iterator[StepSpec]:
    position = 0
    for number, rank in enumerate(ranks):
        for spec in rank:
            position += 1
            yield replace(spec, name=f"s{position}", rank=number)


STEPS = st.builds(
    StepSpec,
    place=st.sampled_from([*Place, Place.EXTERNAL]),
    undo=st.sampled_from(Undo),
    stores_refusals=st.booleans(),
    attempts=st.integers(1, 3),
    elapsed_seconds=st.sampled_from([None, 40.0]),
    compensation_attempts=st.integers(1, 2),
    is_slow=st.sampled_from([False, False, True]),
    is_done=st.sampled_from([False, False, False, True]),
)
RANKS = st.lists(STEPS, min_size=1, max_size=3).map(tuple)
SPECS = st.builds(
    lambda before, pivot, after, deadline: SagaSpec(
        ranks=tuple(_arrange(before, pivot, after)), deadline_seconds=deadline
    ),
    st.lists(RANKS, min_size=1, max_size=3),
    st.none() | STEPS,
    st.lists(RANKS, max_size=2),
    st.sampled_from([None, None, 100]),
)


def _arrange(
    before: list[tuple[StepSpec, ...]], pivot: StepSpec | None, after: list[tuple[StepSpec, ...]]
) -> Iterator[tuple[StepSpec, ...]]:
    """Yield ranks in a legal order, six steps at most; a pivot and what follows it are cut last."""
    left = MAX_STEPS - (1 if pivot else 0)
    for rank in before:
        kept = rank[:left]
        left -= len(kept)
        if kept:
            is_alone = len(kept) == 1
            yield tuple(replace(s, is_done=s.is_done and is_alone and s.place is Place.JOINED) for s in kept)
    if pivot is None:
        return
    yield (replace(pivot, kind=Kind.PIVOT, is_done=False),)
    for rank in after:
        kept = rank[:left]
        left -= len(kept)
        if kept:
            yield tuple(replace(spec, kind=Kind.RETRIABLE, is_done=False) for spec in kept)


def define(name: str, spec: SagaSpec, world: World) -> type[SagaDefinition]:
    """Declare the definition of a spec."""
    members: dict[str, Any] = {}
    ranks: dict[int, dict[str, Any]] = {}
    for step in spec.steps:
        ranks.setdefault(step.rank, {})[step.name] = _declare(step, world)
    for number, steps in ranks.items():
        if len(steps) == 1:
            members.update(steps)
        else:
            members[f"group_{number}"] = Parallel(**steps)
    deadline = timedelta(seconds=spec.deadline_seconds) if spec.deadline_seconds else None
    meta = type("Meta", (), {"name": name, "deadline": deadline})
    return type("Drawn", (SagaDefinition,), {"__module__": __name__, "__doc__": "Drawn.", "Meta": meta, **members})


def _declare(spec: StepSpec, world: World) -> Any:
    is_external = spec.place.is_external
    options: dict[str, Any] = {
        "participant": OWN_DATABASE if spec.place in (Place.APART, Place.ANNOUNCED) else None,
        "external": is_external,
        "queue": SLOW_QUEUE if spec.is_slow else None,
        "refuses_on": [Refused],
        "retry": RetryPolicy(
            attempts=spec.attempts,
            base=RETRY_SECONDS,
            factor=2,
            cap=4 * RETRY_SECONDS,
            max_elapsed=spec.elapsed_seconds,
        ),
    }
    action = None if spec.is_done else world.action(spec)
    if spec.kind is Kind.RETRIABLE:
        return Retriable(action, **options)
    if is_external:
        options["refusal_settles"] = spec.stores_refusals
    if spec.kind is Kind.PIVOT:
        return Pivot(action, **options)
    if is_external and spec.undo is Undo.VERIFIES:
        options["verify_after"] = VERIFY_AFTER
    options["compensation_retry"] = RetryPolicy(
        attempts=spec.compensation_attempts, base=RETRY_SECONDS, cap=4 * RETRY_SECONDS
    )
    options["compensation_refuses_on"] = [CannotUndo]
    return Compensatable(action, world.compensation(spec), **options)
