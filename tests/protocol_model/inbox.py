"""Model of one consumer and key: two processes handle, hold and retry events that arrive in any order, and twice.

A handler fails on demand, or misses what its event builds on. Processes die between any two moves.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .small_search import Found, Move, search

RULES: Mapping[str, str] = {
    "one transaction": "The inbox row commits together with the effect.",
    "one row": "An event that has a row is not run again.",
    "acknowledge after": "A delivery is acknowledged once its row is committed.",
    "key lock": "Events of a key are handled one after the other.",
    "check again": "A stored event is retried only if it still waits once the key is locked.",
    "store first": "An event whose handler failed is stored before it is acknowledged.",
    "hold": "Later events of a key are held behind a failed one.",
    "undo passes": "An event that undoes something is never held.",
    "release": "What is held follows once its head is handled or discarded.",
    "not yet again": "An event that was not yet handled is tried again once another one of its key was.",
    "not yet holds nothing": "An event that is not yet handled holds nothing back.",
    "not yet releases": "A head that turns out to be not yet handled lets the next event follow.",
}
ALL_RULES = frozenset(RULES)
NOBODY = -1
WAITING = ("retrying", "not yet")


class Kind(NamedTuple):
    """Event that arrives."""

    name: str
    needs: str = ""
    """The event that it builds on."""
    undoes: bool = False


class Row(NamedTuple):
    """Row of the inbox; rows are in the order of arrival."""

    name: str
    state: str


class Process(NamedTuple):
    """Process at work on one event."""

    phase: str = "idle"
    name: str = ""
    is_retry: bool = False
    decision: str = ""


class State(NamedTuple):
    """Broker, inbox, processes and effects."""

    broker: tuple[str, ...]
    unacknowledged: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    head: str = ""
    lock: int = NOBODY
    processes: tuple[Process, ...] = (Process(), Process())
    effects: tuple[str, ...] = ()
    wrong: str = ""
    failures: int = 2
    faults: int = 1
    """Copies and deaths that may still happen."""

    def state_of(self, name: str) -> str:
        """Return the state of an event's row; empty without one."""
        return next((row.state for row in self.rows if row.name == name), "")


class Model(NamedTuple):
    """Events of one key, and the rules."""

    kinds: tuple[Kind, ...]
    rules: frozenset[str] = ALL_RULES


BEGINNING = Model(kinds=(Kind("begin"), Kind("answer", needs="begin"), Kind("undo", undoes=True)))
LATER = Model(kinds=(Kind("first"), Kind("second"), Kind("undo", undoes=True)))


def explore(model: Model) -> Found:
    """Search a model."""
    start = State(broker=tuple(kind.name for kind in model.kinds))
    return search(
        start, lambda state: _moves(model, state), lambda state: state.wrong, lambda s: _find_unfinished(model, s)
    )


def _find_unfinished(model: Model, state: State) -> str:
    """Return what is left although nothing but faults and operators can happen."""
    for kind in model.kinds:
        found = state.state_of(kind.name)
        is_waiting_rightly = found == "not yet" and kind.needs not in state.effects
        is_held_rightly = found == "held" and state.state_of(state.head) == "dead" and not kind.undoes
        if found in ("handled", "dead", "discarded") or is_waiting_rightly or is_held_rightly:
            continue
        return f"{kind.name} is left {found or 'nowhere'}"
    return ""


def _moves(model: Model, state: State) -> Iterator[Move[State]]:
    for index, process in enumerate(state.processes):
        if process.phase == "idle":
            yield from _begin(model, state, index)
        else:
            yield from _continue(model, state, index, process)
            if state.faults:
                yield Move(f"process {index} dies", _die(state, index), is_fault=True)
    if state.head and state.state_of(state.head) == "dead" and state.lock == NOBODY:
        discarded = _put(state, state.head, "discarded")
        yield Move(f"an operator discards {state.head}", _release(model, discarded, state.head), is_fault=True)
    if state.faults:
        for kind in model.kinds:
            copied = state._replace(broker=(*state.broker, kind.name), faults=state.faults - 1)
            yield Move(f"{kind.name} is sent again", copied, is_fault=True)


def _begin(model: Model, state: State, index: int) -> Iterator[Move[State]]:
    for name in sorted(set(state.broker)):
        left = list(state.broker)
        left.remove(name)
        kept = (*state.unacknowledged, name) if "acknowledge after" in model.rules else state.unacknowledged
        taken = state._replace(broker=tuple(left), unacknowledged=kept)
        yield Move(f"process {index} gets {name}", _at(taken, index, Process("ready", name)))
    for row in state.rows:
        needs = next(kind.needs for kind in model.kinds if kind.name == row.name)
        is_woken = "not yet again" in model.rules and (not needs or needs in state.effects)
        if row.state == "retrying" or (row.state == "not yet" and is_woken):
            ready = _at(state, index, Process("ready", row.name, is_retry=True))
            yield Move(f"process {index} finds {row.name} due", ready)


def _continue(model: Model, state: State, index: int, process: Process) -> Iterator[Move[State]]:
    name = process.name
    if process.phase == "ready" and not ("key lock" in model.rules and state.lock != NOBODY):
        locked = state._replace(lock=index) if "key lock" in model.rules else state
        for decision in _decide(model, state, process):
            began = process._replace(phase="running", decision=decision)
            yield Move(f"process {index} runs {name}: {decision}", _at(locked, index, began))
    if process.phase == "running" and process.decision == "ok" and "one transaction" not in model.rules:
        affected = _affect(model, state, process)
        yield Move(f"process {index} commits the effect", _at(affected, index, process._replace(phase="affected")))
    elif process.phase in ("running", "affected"):
        free = {"lock": NOBODY} if state.lock == index else {}
        committed = _commit(model, state, process)._replace(**free)  # type: ignore[arg-type]
        yield Move(f"process {index} commits", _at(committed, index, process._replace(phase="done")))
    if process.phase == "done":
        left = list(state.unacknowledged)
        if not process.is_retry and name in left:
            left.remove(name)
        yield Move(f"process {index} acknowledges", _at(state._replace(unacknowledged=tuple(left)), index, Process()))


def _decide(model: Model, state: State, process: Process) -> Iterator[str]:
    """Yield what the transaction will write, by what it reads at its beginning."""
    kind = next(kind for kind in model.kinds if kind.name == process.name)
    found = state.state_of(kind.name)
    must_hold = "hold" in model.rules and not (kind.undoes and "undo passes" in model.rules)
    if process.is_retry:
        is_over = found not in WAITING and "check again" in model.rules
    else:
        is_over = bool(found) and "one row" in model.rules
    if is_over:
        yield "nothing"
    elif not process.is_retry and state.head and must_hold:
        yield "held"
    elif kind.needs and kind.needs not in state.effects:
        yield "not yet"
    else:
        yield "ok"
        if state.failures:
            yield "failed"


def _affect(model: Model, state: State, process: Process) -> State:
    """Return the state with the effect of an event, and what is wrong with it."""
    name, wrong = process.name, state.wrong
    order = [row.name for row in state.rows]
    earlier = order[: order.index(name)] if name in order else order
    undoes = next(kind.undoes for kind in model.kinds if kind.name == name)
    blocked = [one for one in earlier if state.state_of(one) in ("retrying", "dead", "held")]
    if name in state.effects:
        wrong = wrong or f"{name} has two effects"
    elif blocked and not undoes:
        wrong = wrong or f"{name} overtook {blocked[0]}, which failed"
    return state._replace(effects=(*state.effects, name), wrong=wrong)


def _commit(model: Model, state: State, process: Process) -> State:
    name, decision = process.name, process.decision
    if decision == "nothing":
        return state
    if decision == "ok":
        if process.phase == "running":
            state = _affect(model, state, process)
        return _release(model, _put(state, name, "handled"), name)
    if decision == "failed":
        failing = state._replace(failures=state.failures - 1)
        if not process.is_retry and "store first" not in model.rules:
            return failing
        stored = _put(failing, name, "retrying" if failing.failures else "dead")
        return stored if state.head else stored._replace(head=name)
    stored = _put(state, name, decision)
    if decision == "not yet" and "not yet holds nothing" not in model.rules and not state.head:
        return stored._replace(head=name)
    return _release(model, stored, name) if "not yet releases" in model.rules else stored


def _release(model: Model, state: State, name: str) -> State:
    """Return the state in which the next event behind a head follows."""
    if state.head != name or "release" not in model.rules:
        return state
    followers = [row for row in state.rows if row.state in ("held", "retrying", "dead")]
    if not followers:
        return state._replace(head="")
    following = state._replace(head=followers[0].name)
    return _put(following, followers[0].name, "retrying") if followers[0].state == "held" else following


def _die(state: State, index: int) -> State:
    """Return the state in which a process is gone: the broker delivers again what it had not acknowledged."""
    process = state.processes[index]
    died = _at(state._replace(faults=state.faults - 1), index, Process())
    if state.lock == index:
        died = died._replace(lock=NOBODY)
    if not process.is_retry and process.name in state.unacknowledged:
        left = list(state.unacknowledged)
        left.remove(process.name)
        died = died._replace(unacknowledged=tuple(left), broker=(*state.broker, process.name))
    return died


def _put(state: State, name: str, to: str) -> State:
    """Return the state with another state of an event's row, made if it is missing."""
    if not state.state_of(name):
        return state._replace(rows=(*state.rows, Row(name, to)))
    return state._replace(rows=tuple(Row(name, to) if row.name == name else row for row in state.rows))


def _at(state: State, index: int, process: Process) -> State:
    processes = tuple(process if at == index else one for at, one in enumerate(state.processes))
    return state._replace(processes=processes, broker=tuple(sorted(state.broker)))
