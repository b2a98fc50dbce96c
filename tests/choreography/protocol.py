"""Four participants that react to events by total tables, searched in every order of delivery and every outcome.

Written down independently of the engine: a world is the state of each participant, the events on their way to each, the
calls under way, and everything said so far.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

READS = {
    "orders": {"Paid", "Unpaid", "Stored", "Short", "Quoted", "Unserved", "Refunded", "Released", "Booked", "Gone"},
    "payments": {"Begun", "Cancelled"},
    "inventory": {"Begun", "Paid", "Confirmed", "Cancelled"},
    "shipping": {"Begun", "Stored", "Confirmed", "Cancelled"},
}
NEEDED = {"Paid", "Stored", "Quoted"}
REFUSALS = {"Unpaid", "Short", "Unserved"}
EFFECTS = {"payment": ("Paid", "Refunded"), "stock": ("Stored", "Released")}
BACK = {"Unpaid", "Short", "Unserved", "Refunded", "Released", "Cancelled"}


@dataclass(frozen=True)
class World:
    """One moment."""

    orders: str = "pending"
    heard: frozenset[str] = frozenset()
    """Events that orders has heard."""
    payments: str = "none"
    inventory: str = "none"
    shipping: str = "none"
    remembered: frozenset[str] = frozenset()
    """Participants that heard of the cancel while they were calling."""
    way: frozenset[tuple[str, str]] = frozenset()
    """Reader and event."""
    said: frozenset[str] = frozenset()

    def say(self, *events: str) -> "World":
        """Return the world after events were sent."""
        way = {(reader, event) for reader, reads in READS.items() for event in events if event in reads}
        return replace(self, way=self.way | way, said=self.said | {*events})

    def remember(self, participant: str) -> "World":
        """Return the world after a participant heard of the cancel while it was calling."""
        return replace(self, remembered=self.remembered | {participant})

    @property
    def has_effect(self) -> bool:
        """Whether money is or may be taken, stock reserved or a parcel booked."""
        is_taken = self.payments in ("charging", "completed", "refunding")
        return is_taken or self.inventory in ("reserved", "gone") or self.shipping in ("booking", "booked")

    @property
    def is_finished(self) -> bool:
        """Whether a confirmed order has everything."""
        return (self.inventory, self.shipping) == ("gone", "booked")


@dataclass(frozen=True)
class Search:
    """All worlds that can be reached."""

    all: frozenset[World]
    ends: frozenset[World]
    """Nothing more happens."""
    effective: frozenset[World]
    """An effect is there or may still come."""
    unfinished: frozenset[World] = field(default=frozenset())
    """Something that a confirmed order needs is still ahead."""


@cache
def explore() -> Search:
    """Return every world that can be reached."""
    first = World().say("Begun")
    after: dict[World, list[World]] = {}
    todo = deque([first])
    while todo:
        world = todo.popleft()
        if world not in after:
            after[world] = list(_step(world))
            todo += after[world]
    before: dict[World, set[World]] = {}
    for world, nexts in after.items():
        for following in nexts:
            before.setdefault(following, set()).add(world)
    effective = {world for world in after if world.has_effect}
    todo = deque(effective)
    while todo:
        for earlier in before.get(todo.popleft(), ()):
            if earlier not in effective:
                effective.add(earlier)
                todo.append(earlier)
    return Search(
        all=frozenset(after),
        ends=frozenset(world for world, nexts in after.items() if not nexts),
        effective=frozenset(effective),
        unfinished=frozenset(world for world in after if not world.is_finished),
    )


def _step(world: World) -> Iterator[World]:
    if world.orders == "pending":  # a customer cancels at any time
        yield replace(world, orders="cancelled").say("Cancelled")
    for reader, event in world.way:
        rest = replace(world, way=world.way - {(reader, event)})
        yield from {"orders": _orders, "payments": _payments, "inventory": _inventory, "shipping": _shipping}[reader](
            rest, event
        )
    yield from _end_calls(world)


def _orders(world: World, event: str) -> Iterator[World]:
    heard = replace(world, heard=world.heard | {event})
    if world.orders == "pending" and event in NEEDED and heard.heard >= NEEDED:
        yield replace(heard, orders="confirmed").say("Confirmed")
    elif world.orders == "pending" and event in REFUSALS:
        yield replace(heard, orders="cancelled").say("Cancelled")
    else:
        yield heard


def _payments(world: World, event: str) -> Iterator[World]:
    if event == "Begun":
        if world.payments == "tombstone":
            yield replace(world, payments="failed").say("Unpaid")
        else:
            yield replace(world, payments="charging") if world.payments == "none" else world
    elif world.payments == "charging":
        yield world.remember("payments")
    else:
        yield replace(
            world, payments={"none": "tombstone", "completed": "refunding"}.get(world.payments, world.payments)
        )


def _inventory(world: World, event: str) -> Iterator[World]:
    state = world.inventory
    if event == "Begun":
        yield replace(world, inventory="known") if state == "none" else world
    elif event == "Paid" and state == "known":
        yield replace(world, inventory="reserved").say("Stored")
        yield replace(world, inventory="failed").say("Short")
    elif event == "Paid" and state == "tombstone":
        yield replace(world, inventory="failed").say("Short")
    elif event == "Confirmed" and state == "reserved":
        yield replace(world, inventory="gone").say("Gone")
    elif event == "Cancelled" and state in ("none", "known"):
        yield replace(world, inventory="tombstone")
    elif event == "Cancelled" and state == "reserved":
        yield replace(world, inventory="released").say("Released")
    elif event == "Cancelled" or state not in ("none", "known"):
        yield world
    # Otherwise not yet: it stays on its way.


def _shipping(world: World, event: str) -> Iterator[World]:
    state = world.shipping
    if event == "Begun":
        yield replace(world, shipping="known") if state == "none" else world
    elif event == "Stored" and state == "known":
        yield replace(world, shipping="quoting")
    elif event == "Stored" and state == "tombstone":
        yield replace(world, shipping="refused").say("Unserved")
    elif event == "Confirmed" and state == "quoted":
        yield replace(world, shipping="booking")
    elif event == "Cancelled" and state in ("none", "known"):
        yield replace(world, shipping="tombstone")
    elif event == "Cancelled" and state == "quoting":
        yield world.remember("shipping")
    elif event == "Cancelled":
        yield replace(world, shipping="cancelled") if state == "quoted" else world
    elif event == "Stored" and state != "none":
        yield world


def _end_calls(world: World) -> Iterator[World]:
    if world.payments == "charging":
        paid = "refunding" if "payments" in world.remembered else "completed"
        yield replace(world, payments=paid).say("Paid")
        yield replace(world, payments="failed").say("Unpaid")
    if world.payments == "refunding":
        yield replace(world, payments="refunded").say("Refunded")
    if world.shipping == "quoting":
        if "shipping" not in world.remembered:
            yield replace(world, shipping="quoted").say("Quoted")
        yield replace(world, shipping="refused").say("Unserved")
    if world.shipping == "booking":
        yield replace(world, shipping="booked").say("Booked")
