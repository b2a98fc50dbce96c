"""Invariants of every state and every move, numbered as in ``docs/reference/semantics.md``."""

from collections.abc import Iterator

from . import decisions
from .decisions import effect_of
from .rows import CLOSED, FORWARD, PASSED, UNDOABLE, Model, Move, Saga, State, is_held, is_stale


def check_limbo(model: Model, state: State, kinds: set[str]) -> Iterator[str]:
    """Yield whether an open saga is stuck without a hold; ``kinds`` of its possible moves."""
    saga = state.saga
    if saga.state not in CLOSED and not is_held(saga) and "step" not in kinds:
        yield f"I9: the saga is {saga.state}, nothing goes on by itself, and no person is asked"


def check_state(model: Model, state: State) -> Iterator[str]:
    """Yield every violation in a state."""
    saga = state.saga
    for index, site in enumerate(state.sites):
        name = model.steps[index].name
        if site.did > 1:
            yield f"I7: {name} took effect {site.did} times"
        if site.standing not in (0, 1) or site.did - site.undid != site.standing:
            yield f"I10: {name} was done {site.did} times, undone {site.undid} times, and {site.standing} stand"
        if saga.state == "compensated" and site.standing and not _has_witness(state, index):
            yield f"I10: the saga is compensated, and {name} is still in effect"
        if saga.state == "abandoned" and site.standing and index not in saga.left and not _has_witness(state, index):
            yield f"I10: the saga is abandoned, and {name} is not on the list of what is left"
        if saga.state == "completed" and saga.steps[index].state == "succeeded" and not site.standing:
            yield f"I10: the saga is completed, and {name} is not in effect"
    reserved = sum(site.standing for spec, site in zip(model.steps, state.sites, strict=True) if spec.takes_stock)
    if state.stock < 0 or state.stock + reserved + state.is_rival_served != 1:
        yield f"I10: of 1 unit, {state.stock} on hand, {reserved} reserved, {int(state.is_rival_served)} sold elsewhere"
    yield from _check_rows(model, state)


def _check_rows(model: Model, state: State) -> Iterator[str]:
    saga = state.saga
    if saga.state == "completed" and any(step.state not in PASSED for step in saga.steps):
        yield "I4: the saga is completed, and a step is not passed"
    if saga.state == "compensated" and any(effect_of(step) in UNDOABLE for step in saga.steps):
        yield "I4: the saga is compensated, and the rows show an effect left"
    if saga.state in ("compensating", "compensated") and decisions.is_pivot_passed(model, saga):
        yield f"I6: the pivot succeeded, and the saga is {saga.state}"
    is_live = any(step.token is not None for step in saga.steps)
    if saga.state in CLOSED and (saga.is_due or is_held(saga) or is_live):
        yield "I9: a closed saga is due, held or live"
    if saga.state not in CLOSED and not (saga.is_due or is_held(saga) or is_live):
        yield "I9: an open saga has no due time, no live lease and no hold"


def check_move(model: Model, before: State, move: Move) -> Iterator[str]:
    """Yield every violation of a move."""
    after = move.state
    for index, (old, new) in enumerate(zip(before.saga.steps, after.saga.steps, strict=True)):
        name = model.steps[index].name
        for was, now in zip(old.attempts, new.attempts, strict=False):
            if was.outcome not in ("", "unknown") and was != now:
                yield f"S0: the definite outcome of an attempt of {name} changed from {was.outcome} to {now.outcome}"
        if len(new.attempts) < len(old.attempts):
            yield f"S0: an attempt of {name} is gone"
        if new.token is not None and new.token != old.token:
            yield from _check_claim(model, before.saga, index, new.attempts[new.token].direction)
        if move.kind == "late" and old.token is not None and new.token != old.token:
            yield f"S4: a stale token ended the lease of {name} that another worker holds"


def _check_claim(model: Model, before: Saga, index: int, direction: str) -> Iterator[str]:
    """Check a claim against the saga at the time the lease was taken."""
    step, spec = before.steps[index], model.steps[index]
    if step.token is not None:
        yield f"I2: {spec.name} was claimed beside its live attempt"
    if direction == "action":
        if before.state not in FORWARD:
            yield f"I3: the action of {spec.name} was claimed while the saga was {before.state}"
        if spec.kind == "pivot" and before.abort and effect_of(step) == "none":
            yield "S5: the pivot was claimed although the saga was asked to turn back"
        return
    if before.state != "compensating":
        yield f"I3: the compensation of {spec.name} was claimed while the saga was {before.state}"
    if spec.kind != "compensatable":
        yield f"I6: {spec.name} cannot be compensated, and its compensation was claimed"
    for other, row in zip(model.steps, before.steps, strict=True):
        if other.rank > spec.rank and effect_of(row) in UNDOABLE:
            yield f"I5: {spec.name} was compensated before {other.name}"
        if row.state == "running":
            yield f"S3: {spec.name} was compensated while the action of {other.name} was live"


def _has_witness(state: State, index: int) -> bool:
    """Return whether a worker can still report the effect."""
    return any(
        hand.step == index and hand.direction == "action" and hand.answer == "succeeded" and is_stale(state.saga, hand)
        for hand in state.hands
    )
