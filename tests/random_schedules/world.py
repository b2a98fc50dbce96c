"""World of the machine's sagas: a provider with idempotency keys, and a ledger in each database.

Nothing here believes the engine: effects are counted where they happen, by step key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connections, transaction

from sagas import StepContext
from sagas.core.states import Direction
from sagas.exceptions import Fenced
from sagas.participants import barrier

if TYPE_CHECKING:
    from .specs import StepSpec

ENGINE = "default"
STOCK = 1_000
CREATE_TABLES = (
    "CREATE TABLE IF NOT EXISTS machine_ledger (id serial PRIMARY KEY, key text NOT NULL, what text NOT NULL)",
    "CREATE INDEX IF NOT EXISTS machine_ledger_key ON machine_ledger (key)",
    "CREATE TABLE IF NOT EXISTS machine_stock (on_hand int NOT NULL CHECK (on_hand >= 0), reserved int NOT NULL)",
)
DROP_TABLES = ("DROP TABLE IF EXISTS machine_ledger", "DROP TABLE IF EXISTS machine_stock")


class Refused(Exception):
    """Refusal of a participant."""


class CannotUndo(Exception):
    """Refusal of a compensation."""


@dataclass
class Provider:
    """Provider with one effect per key, however often it is called; a closed key stays closed."""

    done: Counter[str] = field(default_factory=Counter)
    undone: Counter[str] = field(default_factory=Counter)
    closed: set[str] = field(default_factory=set)
    """Keys that refuse an action forever."""
    on_hand: int = STOCK
    reserved: int = 0

    def act(self, key: str) -> None:
        """Act once under this key.

        Raises: Refused when the key is closed and nothing was done under it.
        """
        if self.done[key]:
            return
        if key in self.closed:
            raise Refused(f"{key} is closed.")
        self.done[key] += 1
        self.on_hand, self.reserved = self.on_hand - 1, self.reserved + 1

    def undo(self, key: str) -> None:
        """Undo the effect of the key, if there is one."""
        if self.done[key] > self.undone[key]:
            self.undone[key] += 1
            self.on_hand, self.reserved = self.on_hand + 1, self.reserved - 1


@dataclass
class World:
    """Stand-in for all participants."""

    apart: str
    """Alias of the participant with its own database."""
    provider: Provider = field(default_factory=Provider)
    by_hand: set[str] = field(default_factory=set)
    """Keys of steps that an operator did by hand."""
    excused: set[str] = field(default_factory=set)
    """Keys marked by an operator where nothing fences a late call."""

    def prepare(self) -> None:
        """Empty the ledgers."""
        for alias in {ENGINE, self.apart}:
            with connections[alias].cursor() as cursor:
                cursor.execute("TRUNCATE machine_ledger, machine_stock")
                cursor.execute("INSERT INTO machine_stock VALUES (%s, 0)", [STOCK])

    def action(self, spec: StepSpec) -> Callable[[StepContext[Any]], dict[str, Any]]:
        """Return the action of a step."""

        def act(step: StepContext[Any]) -> dict[str, Any]:
            self.do(spec, step.key)
            return {"by": step.step}

        return act

    def compensation(self, spec: StepSpec) -> Callable[[StepContext[Any]], None]:
        """Return the compensation of a step."""

        def undo(step: StepContext[Any]) -> None:
            if not spec.place.is_external:
                self._move(self.alias_of(spec), step.key, "undone" if self.net(spec, step.key) else "nothing")
                return
            if spec.undo == "closes":
                self.provider.closed.add(step.key)
            if spec.undo == "settles":
                try:
                    step.repeat_action()
                except Refused:
                    return
            self.provider.undo(step.key)

        return undo

    def do(self, spec: StepSpec, key: str) -> None:
        """Run the action of a step; a local one adds an effect each time."""
        if spec.place.is_external:
            self.provider.act(key)
        else:
            self._move(self.alias_of(spec), key, "done")

    def refuse(self, spec: StepSpec, key: str) -> None:
        """Refuse, unless it was done under this key; a provider that stores refusals closes the key.

        Raises: Refused.
        """
        if spec.place.is_external:
            if self.provider.done[key]:
                return
            if spec.stores_refusals:
                self.provider.closed.add(key)
        raise Refused("The participant says no.")

    def alias_of(self, spec: StepSpec) -> str:
        """Return the database of a local step."""
        return self.apart if spec.place == "apart" else ENGINE

    def count(self, spec: StepSpec, key: str) -> Counter[str]:
        """Count the effects and compensations under a step key."""
        if spec.place.is_external:
            return Counter(done=self.provider.done[key], undone=self.provider.undone[key])
        with connections[self.alias_of(spec)].cursor() as cursor:
            cursor.execute("SELECT what, count(*) FROM machine_ledger WHERE key = %s GROUP BY what", [key])
            return Counter(dict(cursor.fetchall()))

    def count_all(self, saga_id: UUID, specs: list[StepSpec]) -> dict[str, Counter[str]]:
        """Count the effects and compensations under every step key of a saga, by step name."""
        found = {spec.name: Counter[str]() for spec in specs}
        for alias in sorted({self.alias_of(spec) for spec in specs if not spec.place.is_external}):
            with connections[alias].cursor() as cursor:
                cursor.execute(
                    "SELECT split_part(key, ':', 2), what, count(*) FROM machine_ledger"
                    " WHERE key LIKE %s GROUP BY 1, 2",
                    [f"{saga_id}:%"],
                )
                for name, what, count in cursor.fetchall():
                    found[name][what] = count
        for spec in specs:
            if spec.place.is_external:
                found[spec.name] = self.count(spec, f"{saga_id}:{spec.name}")
        return found

    def net(self, spec: StepSpec, key: str) -> int:
        """Return how many effects of a step are left."""
        counted = self.count(spec, key)
        return counted["done"] - counted["undone"]

    def can_be_done_by_hand(self, spec: StepSpec, key: str) -> bool:
        """Return whether an operator may truthfully report that a step happened, if need be by doing it by hand."""
        if spec.place.is_external:
            return self.net(spec, key) == 1 or (self.provider.done[key] == 0 and key not in self.provider.closed)
        if self.count(spec, key)["done"]:
            return self.net(spec, key) == 1
        return spec.place == "joined" or not self._is_fenced(key)

    def do_by_hand(self, spec: StepSpec, key: str) -> None:
        """Do a step by hand, as an operator would: under its key, and bypassing the participant's barrier."""
        if self.net(spec, key) == 1:
            return
        self.by_hand.add(key)
        with transaction.atomic(using=self.alias_of(spec)):
            if spec.place == "apart":
                barrier.enter(self.apart, key, Direction.ACTION, 0)
                barrier.finish(self.apart, key, Direction.ACTION, 0, None)
            self.do(spec, key)

    def undo_by_hand(self, spec: StepSpec, key: str) -> None:
        """Undo a step by hand and, at the provider, prevent a late effect."""
        if spec.place.is_external:
            self.provider.closed.add(key)
            self.provider.undo(key)
            return
        if spec.place == "apart":
            self.excused.add(key)
        if self.net(spec, key):
            self._move(self.alias_of(spec), key, "undone")
            self.by_hand.add(key)

    def find_missing_stock(self) -> list[str]:
        """Return where stock does not add up (invariant I10)."""
        found = []
        if (self.provider.on_hand + self.provider.reserved, self.provider.on_hand < 0) != (STOCK, False):
            found.append(f"I10: the provider has {self.provider.on_hand} and reserved {self.provider.reserved}")
        for alias in sorted({ENGINE, self.apart}):
            with connections[alias].cursor() as cursor:
                cursor.execute(
                    "SELECT on_hand, reserved, (SELECT count(*) FILTER (WHERE what = 'done')"
                    " - count(*) FILTER (WHERE what = 'undone') FROM machine_ledger) FROM machine_stock"
                )
                on_hand, reserved, booked = cursor.fetchone()
            if on_hand + reserved != STOCK or reserved != booked:
                found.append(f"I10: {alias} has {on_hand} and reserved {reserved}, the ledger says {booked}")
        return found

    def _move(self, alias: str, key: str, what: str) -> None:
        change = {"done": 1, "undone": -1, "nothing": 0}[what]
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "WITH moved AS (UPDATE machine_stock SET on_hand = on_hand - %s, reserved = reserved + %s)"
                " INSERT INTO machine_ledger (key, what) VALUES (%s, %s)",
                [change, change, key, what],
            )

    def _is_fenced(self, key: str) -> bool:
        with transaction.atomic(using=self.apart):
            try:
                barrier.enter(self.apart, key, Direction.ACTION, 0)
            except Fenced:
                return True
            finally:
                transaction.set_rollback(True, using=self.apart)
        return False
