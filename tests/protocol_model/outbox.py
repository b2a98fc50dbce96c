"""Model of publishing and relaying: two publishers and two relays of one source, before a broker.

The broker keeps a log. Relays die, are slow beyond their lease, and lose confirmations; the broker refuses events.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .small_search import Found, Move, search

RULES: Mapping[str, str] = {
    "one transaction": "An event commits together with the data that it is about.",
    "counter lock": "The counter of a source stays locked until the commit of the publisher.",
    "head first": "Only the first open event of a source is claimed, and those behind it with it.",
    "stop behind": "Behind an event that was not confirmed nothing of its source is sent.",
    "mark after": "An event is marked only once the broker has confirmed it.",
    "unknown again": "An event without a confirmation is sent again.",
    "lease ends": "What a dead relay has claimed is free once its lease has ended.",
    "parked holds": "A parked event holds its source.",
}
ALL_RULES = frozenset(RULES)
NOBODY, DEAD = -1, -2


class Row(NamedTuple):
    """Event of the outbox."""

    number: int
    state: str = "unsent"
    owner: int = NOBODY


class Relay(NamedTuple):
    """Relay at work: what it claimed and still has to send, and what was confirmed."""

    left: tuple[int, ...] = ()
    confirmed: tuple[int, ...] = ()


class State(NamedTuple):
    """Publishers, outbox, relays and the broker's log."""

    publishers: tuple[tuple[str, int], ...] = (("idle", 0), ("idle", 0))
    issued: int = 0
    lock: int = NOBODY
    lost: int = 0
    rows: tuple[Row, ...] = ()
    relays: tuple[Relay, ...] = (Relay(), Relay())
    log: tuple[int, ...] = ()
    faults: int = 2


def explore(rules: frozenset[str] = ALL_RULES, faults: int = 2) -> Found:
    """Search the model with these rules."""
    return search(State(faults=faults), lambda state: _moves(rules, state), _find_wrong, _find_unfinished)


def _find_wrong(state: State) -> str:
    firsts = list(dict.fromkeys(state.log))
    if firsts != sorted(firsts):
        return f"sent out of order: {firsts}"
    return "" if set(state.log) <= {row.number for row in state.rows} else "an event was sent that never committed"


def _find_unfinished(state: State) -> str:
    if state.lost:
        return "data committed without their event"
    parked = min((row.number for row in state.rows if row.state == "parked"), default=99)
    missing = [row.number for row in state.rows if row.number not in state.log and row.number < parked]
    return f"never sent: {missing}" if missing else ""


def _moves(rules: frozenset[str], state: State) -> Iterator[Move[State]]:
    for index, publisher in enumerate(state.publishers):
        yield from _publish(rules, state, index, publisher)
    for index, relay in enumerate(state.relays):
        yield from _relay(rules, state, index, relay)
    if "lease ends" in rules and any(row.owner == DEAD for row in state.rows):
        yield Move("the lease ends", _own(state, DEAD, NOBODY))
    for row in state.rows:
        if row.state == "parked":
            yield Move(f"an operator retries {row.number}", _set(state, row.number, "unsent"), is_fault=True)


def _publish(rules: frozenset[str], state: State, index: int, publisher: tuple[str, int]) -> Iterator[Move[State]]:
    phase, number = publisher
    is_locked = "counter lock" in rules

    def to(phase: str, number: int, **changes: object) -> State:
        publishers = tuple((phase, number) if at == index else one for at, one in enumerate(state.publishers))
        return state._replace(publishers=publishers, **changes)  # type: ignore[arg-type]

    if phase == "idle" and not (is_locked and state.lock != NOBODY):
        number = state.issued + 1
        yield Move(f"publisher {index} takes {number}", to("open", number, issued=number, lock=index))
    if phase == "open":
        rows = tuple(sorted((*state.rows, Row(number))))
        free = {"lock": NOBODY} if state.lock == index else {}
        back = {**free, "issued": number - 1} if is_locked else free
        if "one transaction" in rules:
            yield Move(f"publisher {index} commits", to("done", number, rows=rows, **free))
        else:
            yield Move(f"publisher {index} commits its data", to("data", number, lost=state.lost + 1))
        yield Move(f"publisher {index} rolls back", to("gone", 0, **back), is_fault=True)
    if phase == "data":
        rows = tuple(sorted((*state.rows, Row(number))))
        free = {"lock": NOBODY} if state.lock == index else {}
        yield Move(f"publisher {index} writes its event", to("done", number, rows=rows, lost=state.lost - 1, **free))
        if state.faults:
            yield Move(f"publisher {index} dies", to("gone", 0, faults=state.faults - 1, **free), is_fault=True)


def _relay(rules: frozenset[str], state: State, index: int, relay: Relay) -> Iterator[Move[State]]:
    if not relay.left and not relay.confirmed:
        if claimed := _find_claim(rules, state):
            marked = "unsent" if "mark after" in rules else "sent"
            for number in claimed:
                state = _set(state, number, marked, owner=index)
            yield Move(f"relay {index} claims {claimed}", _at(state, index, Relay(left=claimed)))
        return
    if not relay.left:
        for number in relay.confirmed:
            state = _set(state, number, "sent", only="unsent")
        yield Move(f"relay {index} marks {relay.confirmed}", _at(_own(state, index, NOBODY), index, Relay()))
        return
    number, *others = relay.left
    arrived = state._replace(log=(*state.log, number))
    done = Relay(left=tuple(others), confirmed=(*relay.confirmed, number))
    yield Move(f"{number} is confirmed to relay {index}", _at(arrived, index, done))
    if not state.faults:
        return
    stopped = Relay(left=() if "stop behind" in rules else tuple(others), confirmed=relay.confirmed)
    for label, sent in (("confirmation of", arrived), ("way of", state)):
        unknown = _set(sent, number, "unsent" if "unknown again" in rules else "sent", only="unsent")
        unknown = _end(unknown, index, stopped)._replace(faults=state.faults - 1)
        yield Move(f"the {label} {number} is lost to relay {index}", unknown, is_fault=True)
    refused = _end(_set(state, number, "parked", only="unsent"), index, stopped)._replace(faults=state.faults - 1)
    yield Move(f"the broker refuses {number} of relay {index}", refused, is_fault=True)
    died = _at(_own(state, index, DEAD), index, Relay())._replace(faults=state.faults - 1)
    yield Move(f"relay {index} dies", died, is_fault=True)
    slow = _own(state, index, NOBODY)._replace(faults=state.faults - 1)
    yield Move(f"relay {index} is slower than its lease", slow, is_fault=True)


def _find_claim(rules: frozenset[str], state: State) -> tuple[int, ...]:
    """Return the head of the source and what is behind it, or without the rule the first that is free."""
    claimed: list[int] = []
    for row in state.rows:
        if row.state == "sent" or (row.state == "parked" and "parked holds" not in rules):
            continue
        if row.state == "parked" or (row.owner != NOBODY and "head first" in rules):
            break
        if row.owner == NOBODY:
            claimed.append(row.number)
    return tuple(claimed)


def _end(state: State, index: int, relay: Relay) -> State:
    """Return the state after a sending that was not confirmed; a relay with nothing left or confirmed is idle."""
    if not relay.left and not relay.confirmed:
        state = _own(state, index, NOBODY)
    return _at(state, index, relay)


def _at(state: State, index: int, relay: Relay) -> State:
    return state._replace(relays=tuple(relay if at == index else one for at, one in enumerate(state.relays)))


def _own(state: State, owner: int, following: int) -> State:
    rows = tuple(row._replace(owner=following) if row.owner == owner else row for row in state.rows)
    return state._replace(rows=rows)


def _set(state: State, number: int, to: str, *, owner: int | None = None, only: str = "") -> State:
    """Return the state with another state of one row, if it was in ``only``; what is sent or parked has no owner."""

    def change(row: Row) -> Row:
        if row.number != number or only not in ("", row.state):
            return row
        return Row(number, to, row.owner if owner is None else owner)

    return state._replace(rows=tuple(map(change, state.rows)))
