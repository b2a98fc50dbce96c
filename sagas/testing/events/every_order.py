"""Every order in which events can arrive, tried on real rows.

Orders that begin alike share that beginning: each delivery runs in a savepoint, and its rollback is the way back.

Source: Godefroid, Model Checking for Programming Languages using VeriSoft, POPL 1997 (search on the real program).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from ...events import catalogue
from ...events.cloudevents import digest_of
from ...events.declaration import find_type, type_of
from ...models import InboxEvent, OutboxEvent
from .delivery import as_delivery, drain_inbox, find_receivers, receive, to_row
from .outboxes import list_rows, require_events


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What ``deliver_in_every_order`` tried."""

    orders: int
    """Ends that were checked."""
    moves: int
    """Deliveries and calls that were made."""


@dataclass(frozen=True, kw_only=True)
class _Move:
    """Delivery to one participant, or call of a function."""

    name: str
    run: Callable[[], None]
    identity: Hashable
    """Equal for moves that do the same in two orders."""


def deliver_in_every_order(
    moves: Sequence[Any],
    check: Callable[[], None],
    *,
    times: int = 1,
    follow: bool = False,
    state_of: Callable[[], Hashable] | None = None,
    at_most: int = 20_000,
) -> Tried:
    """Deliver events in every order to every participant that handles them, and check each end.

    Each participant gets each event by itself, so one may be ahead of another. Once all are delivered, stored events
    are tried again (``drain_inbox``), and ``check`` is called, which asserts. Everything is rolled back in the end.
    ``moves``: events, and functions without an argument, which are called once, at any time: a customer who cancels.
    ``times``: how often each event arrives. ``follow``: whether what handlers publish is delivered, too. ``state_of``
    returns the participants' rows, without ids and times; of several orders that lead to the same one, and the same
    inbox, only one is continued. ``at_most``: limit of moves.
    Raises: what ``check`` or a function raises, with a note of the order; AssertionError when no participant handles
        one of the events, or the limit is too small; ImproperlyConfigured when events are off.
    Tx: opens one in each database of events, or a savepoint, and rolls it back.
    """
    require_events()
    search = _Search(check=check, times=times, follow=follow, state_of=state_of, at_most=at_most)
    with search.rolled_back():
        search.explore(search.begin(moves), ())
    return Tried(orders=search.orders, moves=search.moves)


class _Search:
    """Depth-first search over the moves that are left."""

    def __init__(
        self,
        *,
        check: Callable[[], None],
        times: int,
        follow: bool,
        state_of: Callable[[], Hashable] | None,
        at_most: int,
    ) -> None:
        self._check, self._times, self._follow = check, times, follow
        self._state_of, self._at_most = state_of, at_most
        self._aliases = catalogue.event_databases()
        self._known = frozenset(row.event_id for row in list_rows())
        self._seen: set[Hashable] = set()
        self.orders = self.moves = 0

    def begin(self, moves: Sequence[Any]) -> Counter[_Move]:
        """Return the first moves."""
        first: Counter[_Move] = Counter()
        for move in moves:
            if callable(move):
                first[_Move(name=getattr(move, "__name__", repr(move)), run=move, identity=id(move))] += 1
            else:
                declared = type_of(type(move))
                first += self._deliveries(to_row(declared, move), find_receivers(declared))
        return first

    def explore(self, left: Counter[_Move], path: tuple[_Move, ...]) -> None:
        """Try every move that is left, each followed by every order of the others."""
        if left and self._is_seen(left):
            return
        for move in left:
            self._count_move()
            with self.rolled_back(), _noting((*path, move)):
                move.run()
                known = self._known
                self.explore(left - Counter([move]) + self._find_new(), (*path, move))
                self._known = known
        if not left:
            self._end(path)

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        """Roll back what happens inside, in every database of events."""
        with ExitStack() as stack:
            for alias in self._aliases:
                block: Any = transaction.atomic(using=alias)
                block._from_testcase = True  # noqa: SLF001 - as in Django's TestCase: durable blocks may be inside
                stack.enter_context(block)
            yield
            for alias in self._aliases:
                transaction.set_rollback(True, using=alias)

    def _end(self, path: tuple[_Move, ...]) -> None:
        with self.rolled_back(), _noting(path):
            drain_inbox()
            known, new = self._known, self._find_new()
            if new:
                self.explore(new, path)
            else:
                self.orders += 1
                self._check()
            self._known = known

    def _count_move(self) -> None:
        self.moves += 1
        if self.moves > self._at_most:
            raise AssertionError(
                f"More than {self._at_most} moves in {self.orders} orders. Deliver fewer events, pass state_of, or"
                " raise at_most."
            )

    def _deliveries(self, row: OutboxEvent, receivers: Sequence[str]) -> Counter[_Move]:
        delivery = as_delivery(row)
        digest = digest_of(row.type, row.version, row.data)
        return Counter(
            {
                _Move(
                    name=f"{row.type} {row.key} to {label}",
                    run=lambda label=label: receive(label, delivery),  # type: ignore[misc]
                    identity=(label, row.source, digest),
                ): self._times
                for label in receivers
            }
        )

    def _find_new(self) -> Counter[_Move]:
        """Return deliveries of what was published since the last move."""
        found: Counter[_Move] = Counter()
        if not self._follow:
            return found
        for row in list_rows():
            declared = find_type(row.type)
            if row.event_id not in self._known and declared is not None:
                self._known |= {row.event_id}
                found += self._deliveries(row, catalogue.consumers_of_type(row.type))
        return found

    def _is_seen(self, left: Counter[_Move]) -> bool:
        """Return whether another order led to the same state with the same moves left."""
        if self._state_of is None:
            return False
        moves = frozenset(Counter(move.identity for move, count in left.items() for _ in range(count)).items())
        state = (moves, _read_boxes(self._aliases), self._state_of())
        if state in self._seen:
            return True
        self._seen.add(state)
        return False


def _read_boxes(aliases: Sequence[str]) -> Hashable:
    """Return inboxes and outboxes without ids and times."""
    inboxes = Counter(
        found
        for alias in aliases
        for found in InboxEvent.objects.using(alias).values_list("consumer", "source", "digest", "state", "attempts")
    )
    outboxes = Counter((row.source, digest_of(row.type, row.version, row.data)) for row in list_rows())
    return frozenset(inboxes.items()), frozenset(outboxes.items())


@contextmanager
def _noting(path: Sequence[_Move]) -> Iterator[None]:
    """Name the order in what is raised inside."""
    try:
        yield
    except Exception as error:
        if not getattr(error, "__notes__", None):
            error.add_note("In this order: " + "; ".join(f"{n}. {move.name}" for n, move in enumerate(path, 1)))
        raise
