"""Definitions and versions in use: those of the code and those that stored sagas have, with their statistics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ... import clock
from ...choreography.definition import CHOREOGRAPHIES
from ...conf import get_settings
from ...core.definition import registry
from ...core.definition.saga import SagaDefinition
from ...models import Saga, SagaStep
from . import statistics
from .statistics import DEFINITIONS, DEFINITIONS_LATELY, Statistics, Window

Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Tries:
    """Attempts of one direction of a step within a window, without live ones and what operators stated."""

    attempts: int = 0
    failures: int = 0
    """Without refusals."""
    refusals: int = 0


@dataclass(frozen=True, kw_only=True)
class VersionInUse:
    """Definition and version with the statistics of its sagas."""

    name: str
    version: int
    code: type[SagaDefinition] | None
    """None: the code does not have it."""
    digests: Mapping[str, int] = field(default_factory=dict)
    """Number of open sagas by stored digest."""
    closed: int = 0
    completed: int = 0
    compensated: int = 0
    seconds: tuple[float, float] | None = None
    """Median and 95th percentile of the time from start to end; None: none was closed."""
    tries: Mapping[tuple[str, str], Tries] = field(default_factory=dict)
    """By step and direction."""

    @property
    def open(self) -> int:
        """Number of open sagas."""
        return sum(self.digests.values())

    @property
    def open_elsewhere(self) -> int:
        """Number of open sagas that run on a digest that the code does not have."""
        return sum(sagas for digest, sagas in self.digests.items() if self.code is None or digest != self.code.digest)


@dataclass(frozen=True, kw_only=True)
class VersionsInUse:
    """All definitions and versions in use, with the time and the limits of their statistics."""

    versions: Mapping[Key, VersionInUse]
    """By name and version, in order."""
    now: datetime
    stored: Statistics
    """The set of open sagas."""
    lately: Statistics
    """The set of the window."""


def read_versions(window: Window) -> VersionsInUse:
    """Return the definitions in use with statistics of a window, a day or a week; stale ones are counted anew."""
    now = clock.shifted(datetime.now(UTC))  # statistics tell their own age; a second more or less does not matter
    names = [DEFINITIONS, DEFINITIONS_LATELY[window]]
    found = statistics.read_statistics(names)
    if stale := statistics.list_stale(found, now):
        found |= statistics.count_stale(stale)
    stored, lately = (found[name] for name in names)
    keys = {(code.name, code.version) for code in registry.all_definitions()}
    keys |= {_key(row) for row in (*stored.data.get("stored", []), *stored.data.get("opened", []))}
    keys -= CHOREOGRAPHIES.keys()  # they have no attempts, no durations of steps and no kinds of retries
    versions = {key: _build(key, stored.data, lately.data) for key in sorted(keys)}
    return VersionsInUse(versions=versions, now=now, stored=stored, lately=lately)


def read_stored_steps(name: str, version: int) -> list[SagaStep]:
    """Return the steps of the newest saga of a version, without results; empty: there is none."""
    using = get_settings().database
    newest = Saga.objects.using(using).filter(definition=name, version=version).order_by("-created_at")
    steps = SagaStep.objects.using(using).filter(saga_id=newest.values("pk")[:1])
    return list(steps.only("name", "kind", "rank", "position").order_by("position"))


def _build(key: Key, stored: Mapping[str, Any], lately: Mapping[str, Any]) -> VersionInUse:
    closed = next(_list_rows(key, lately.get("closed", [])), {})
    return VersionInUse(
        name=key[0],
        version=key[1],
        code=registry.find(*key),
        digests={row["digest"]: row["sagas"] for row in _list_rows(key, stored.get("opened", []))},
        closed=closed.get("sagas", 0),
        completed=closed.get("completed", 0),
        compensated=closed.get("compensated", 0),
        seconds=tuple(closed["seconds"]) if closed else None,
        tries={
            (row["step"], row["direction"]): Tries(
                attempts=row["attempts"], failures=row["failures"], refusals=row["refusals"]
            )
            for row in _list_rows(key, lately.get("steps", []))
        },
    )


def _list_rows(key: Key, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (row for row in rows if _key(row) == key)


def _key(row: Mapping[str, Any]) -> Key:
    return row["definition"], row["version"]
