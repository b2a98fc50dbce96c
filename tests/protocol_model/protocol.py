"""Moves that are possible in a state: claim, call and record, with their faults and operators.

Time is open: whatever is due later may continue at once, and a lease may end at any time. A message only makes a
worker look at the saga, and any worker may look at any time, so lost, repeated and late messages need no moves.
The record does not claim the next step in the same commit here: that is the schedule in which nothing happens
between the two.
"""

from collections.abc import Iterator
from typing import Any

from . import decisions, participants, writes
from .rows import CLOSED, Form, Hand, Model, Move, Saga, State, Step, is_stale


def moves(model: Model, state: State) -> Iterator[Move]:
    """Yield every possible move."""
    yield from _claim(model, state)
    for hand in state.hands:
        yield from _go_on(model, state, hand)
        yield from _crash(model, state, hand)
    yield from _end_leases(model, state)
    if state.form is not None:
        yield from _send_form(model, state, state.form)
    elif state.acts:
        yield from _operate(model, state)
    yield from _pass_time(model, state)


def _claim(model: Model, state: State) -> Iterator[Move]:
    """Let any worker claim what is due."""
    if "fresh claim" not in model.rules:
        yield from _claim_late(model, state)
    elif _is_looked_at(model, state):
        for index, direction in decisions.plan(model, state.saga).claims:
            yield _take(model, state, index, direction, state.hands)


def _claim_late(model: Model, state: State) -> Iterator[Move]:
    """Choose a step in one transaction and claim it in another."""
    for hand in state.hands:
        if hand.token is None and state.saga.steps[hand.step].token is None:
            yield _take(model, state, hand.step, hand.direction, state.hands - {hand})
    if _is_looked_at(model, state):
        for index, direction in decisions.plan(model, state.saga).claims:
            chosen = Hand(index, direction, None, 0)
            label = f"a worker chooses {_name(model, chosen)}"
            yield Move("step", label, state._replace(hands=state.hands | {chosen}), chosen)


def _take(model: Model, state: State, index: int, direction: str, hands: frozenset[Hand]) -> Move:
    saga, hand = writes.claim(model, state.saga, index, direction)
    saga = writes.settle(model, saga)
    label = f"a worker claims {_name(model, hand)}"
    return Move("step", label, _write(model, state, saga, is_woken=False, hands=hands | {hand}), hand)


def _go_on(model: Model, state: State, hand: Hand) -> Iterator[Move]:
    """Let the worker of an attempt take its next action, late or in time."""
    if hand.token is None:
        return
    kind = "late" if is_stale(state.saga, hand) else "step"
    place = model.steps[hand.step].place
    others = state.hands - {hand}
    if hand.answer:
        yield from _record(model, state, hand, kind)
        return
    if _reads_stock_first(model, hand):
        label = f"the worker of {_name(model, hand)} reads the stock"
        yield Move(kind, label, state._replace(hands=others | {hand._replace(stock=state.stock)}), hand)
        return
    for reply in participants.call(model, state, hand):
        if reply.is_fault and not _may_fail(model, state, hand):
            continue
        after = _apply_reply(state, hand, reply)
        label = f"{_name(model, hand)}: the participant {reply.note}"
        if place == "engine" and "one commit" in model.rules:
            after, label = _commit(model, state, after, hand._replace(answer=reply.answer)), f"{label}, recorded"
            if reply.answer == "succeeded" and after.sites == state.sites:
                label = f"{_name(model, hand)}: rolled back, its token is stale"
        else:
            after = after._replace(hands=others | {hand._replace(answer=reply.answer)})
        yield Move("fault" if reply.is_fault else kind, label, after, hand)


def _apply_reply(state: State, hand: Hand, reply: participants.Reply) -> State:
    sites = list(state.sites)
    sites[hand.step] = reply.site
    return state._replace(sites=tuple(sites), stock=reply.stock, faults=state.faults - reply.is_fault)


def _commit(model: Model, before: State, after: State, hand: Hand) -> State:
    """Commit effect and record together or, with a stale token, neither."""
    others = frozenset(other for other in before.hands if (other.step, other.token) != (hand.step, hand.token))
    if is_stale(before.saga, hand) and "token" in model.rules and hand.answer == "succeeded":
        return before._replace(hands=others)
    return _write(model, after, writes.record(model, before.saga, hand), hands=others)


def _record(model: Model, state: State, hand: Hand, kind: str) -> Iterator[Move]:
    others = state.hands - {hand}
    name = _name(model, hand)
    if "lock" not in model.rules and hand.seen is None:
        label = f"the worker of {name} reads the saga without a lock"
        yield Move(kind, label, state._replace(hands=others | {hand._replace(seen=state.saga)}), hand)
        return
    seen = hand.seen or state.saga
    if seen != state.saga and "guarded write" in model.rules:
        yield Move(kind, f"the write of {name} fails, the rows moved", state._replace(hands=others), hand)
        return
    after = writes.record(model, seen, hand)
    steps = zip(state.saga.steps, seen.steps, after.steps, strict=True)
    merged = after._replace(steps=tuple(_merge(now, old, new) for now, old, new in steps))
    label = f"the worker of {name} records: {hand.answer}"
    if kind == "late":
        label = f"the late worker of {name} tells: {hand.answer}"
    yield Move(kind, label, _write(model, state, merged, hands=others), hand)


def _merge(now: Step, old: Step, new: Step) -> Step:
    """Write a step as computed from what was read, over its current row; attempts have their own rows."""
    if old == new:
        return now
    closed = zip(now.attempts, old.attempts, new.attempts, strict=False)
    attempts = tuple(was if before == after else after for was, before, after in closed)
    return new._replace(attempts=attempts + now.attempts[len(attempts) :])


def _crash(model: Model, state: State, hand: Hand) -> Iterator[Move]:
    if state.faults and hand.token is not None and _may_fail(model, state, hand):
        after = state._replace(hands=state.hands - {hand}, faults=state.faults - 1)
        yield Move("fault", f"the worker of {_name(model, hand)} dies", after, hand)


def _end_leases(model: Model, state: State) -> Iterator[Move]:
    """End the lease of a dead worker at the next wake-up; ending that of a frozen one is a fault."""
    if not _is_looked_at(model, state):
        return
    for index, step in enumerate(state.saga.steps):
        if step.token is None:
            continue
        is_alive = any(hand.step == index and hand.token == step.token for hand in state.hands)
        if is_alive and not state.faults:
            continue
        saga = writes.lose_lease(model, state.saga, index)
        after = _write(model, state, saga, is_woken=False, faults=state.faults - is_alive)
        label = f"the lease of {model.steps[index].name} ends"
        yield Move("fault" if is_alive else "step", f"{label}, its worker is frozen" if is_alive else label, after)


def _operate(model: Model, state: State) -> Iterator[Move]:
    """Let an operator act; a mark is filled in now and sent later."""
    for operation in model.operations:
        is_of_step = operation.startswith("mark") or operation in ("retry", "skip")
        for index in range(len(model.steps) if is_of_step else 1):
            saga = writes.operate(model, state.saga, operation, index)
            if saga is None:
                continue
            name = f"{operation} {model.steps[index].name}" if is_of_step else operation
            acts = state.acts - 1
            if not operation.startswith("mark"):
                yield Move("person", f"a person: {name}", _write(model, state, saga, acts=acts))
            elif bool(state.sites[index].standing) == (operation == "mark succeeded"):
                form = Form(operation, index)
                label = f"a person looks at the participant and decides: {name}"
                yield Move("person", label, state._replace(form=form, acts=acts))


def _send_form(model: Model, state: State, form: Form) -> Iterator[Move]:
    saga = None
    name = f"{form.operation} {model.steps[form.step].name}"
    if form.is_current:
        saga = writes.operate(model, state.saga, form.operation, form.step)
    if saga is None:
        yield Move("person", f"a person sends: {name}, refused", state._replace(form=None))
    else:
        yield Move("person", f"a person sends: {name}", _write(model, state._replace(form=None), saga))


def _pass_time(model: Model, state: State) -> Iterator[Move]:
    if model.has_deadline and not state.is_overdue and state.saga.state not in CLOSED:
        saga = writes.pass_deadline(model, state.saga)
        yield Move("time", "the deadline passes", _write(model, state, saga, is_overdue=True))
    if model.has_rival and not state.is_rival_served and state.stock:
        yield Move("time", "somebody else buys a unit", state._replace(stock=state.stock - 1, is_rival_served=True))
    if "sweep" not in model.rules and state.is_woken and state.faults:
        yield Move("fault", "the wake-up is lost", state._replace(is_woken=False, faults=state.faults - 1))


def _is_looked_at(model: Model, state: State) -> bool:
    return state.saga.is_due if "sweep" in model.rules else state.is_woken


def _reads_stock_first(model: Model, hand: Hand) -> bool:
    takes = model.steps[hand.step].takes_stock and hand.direction == "action" and hand.stock is None
    return takes and "conditional stock" not in model.rules


def _may_fail(model: Model, state: State, hand: Hand) -> bool:
    """Return whether a fault may hit this worker: one is left, and it is not the only witness of a late effect.

    Nobody can ever know of an effect that came after its compensation, or after a person said that it would not
    come, if its participant takes it and its worker dies before it can tell. That limit is stated, not modelled.
    """
    if model.may_lose_witness or hand.direction == "compensation" or not is_stale(state.saga, hand):
        return bool(state.faults)
    has_word = any(attempt.is_assumed for attempt in state.saga.steps[hand.step].attempts)
    has_form = state.form is not None and state.form.step == hand.step
    return bool(state.faults) and model.can_close_keys and not has_word and not has_form


def _write(model: Model, state: State, saga: Saga, **changes: Any) -> State:
    """Commit the rows of the saga, wake what is due, and mark an outdated open form."""
    after = state._replace(saga=saga._replace(revision=0), **changes)
    if "sweep" in model.rules or decisions.plan(model, saga).claims:
        after = after._replace(is_woken=True)
    return after._replace(form=_date(model, state.saga, saga, after.form)) if after.form else after


def _date(model: Model, before: Saga, after: Saga, form: Form) -> Form:
    """Mark an open form as outdated if what it was decided on has changed."""
    is_decided = "revision" in model.rules and before.revision != after.revision
    is_same = before.steps[form.step].attempts == after.steps[form.step].attempts
    is_told = "same attempts" in model.rules and not is_same
    return form._replace(is_current=form.is_current and not is_decided and not is_told)


def _name(model: Model, hand: Hand) -> str:
    number = "" if hand.token is None else f" (attempt {hand.token + 1})"
    verb = "the compensation of " if hand.direction == "compensation" else ""
    return f"{verb}{model.steps[hand.step].name}{number}"
