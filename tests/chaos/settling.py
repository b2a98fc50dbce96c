"""Settled shops: waiting for them, and how each order ended."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

import psycopg

from benchmarks.stories import GENERATED_BY
from tests.end_to_end import ledger_audit
from tests.processes import Project

from .kinds import CANCELLED, CONFIRMED, CONFIRMED_AT_LEAST, NEEDS_PERSON, WORKS, Kind

ENDS = {"completed": CONFIRMED, "compensated": CANCELLED}
LOOK_SECONDS = 0.2

# A saga that waits for an operator may be retried, but not soon. Generated ones are due years ahead. A choreographed
# one waits for an operator only if one of its external calls does.
RESTLESS = f"""
    SELECT s.id, s.state, s.hold, s.attention, s.due_at, s.queue FROM sagas_saga s WHERE s.closed_at IS NULL
      AND s.hold IS NULL AND s.started_by <> '{GENERATED_BY}'
      AND CASE s.coordination WHEN 'choreography' THEN NOT s.attention ? 'intent_failing' ELSE
          NOT EXISTS (SELECT 1 FROM sagas_sagastep t WHERE t.saga_id = s.id AND t.hold IS NOT NULL)
          AND NOT (s.attention <> '[]'::jsonb AND s.due_at > clock_timestamp() + interval '10 minutes') END"""  # noqa: S608
RESTLESS_EVENTS = """
    SELECT type, key, state FROM sagas_outboxevent WHERE state = 'unsent'
    UNION ALL SELECT type, key, state FROM sagas_inboxevent WHERE state IN ('retrying', 'not_yet')"""
UNSETTLED_EVENTS = (
    ("an event that was not sent", "SELECT type, key, state FROM sagas_outboxevent WHERE state <> 'sent'"),
    ("an event that was not handled", """
        SELECT consumer, type, key, state, error FROM sagas_inboxevent WHERE state <> 'handled'"""),
    ("a closed saga to which something is owed", """
        SELECT id, owed FROM sagas_saga WHERE closed_at IS NOT NULL AND owed <> '[]'::jsonb"""),
)  # fmt: skip
ENDED = """
    SELECT o.number, s.state, s.closed_at IS NULL AS is_open FROM orders_order o JOIN sagas_saga s ON s.id = o.saga_id
    """


def wait_until_settled(project: Project, *, patience_seconds: float) -> float:
    """Wait until every saga is closed or waits for an operator, and every event is sent and handled, or given up.

    Returns: the seconds it took.
    Raises: AssertionError with those that are neither.
    """
    started_at = time.monotonic()
    while restless := [*project.query(RESTLESS), *project.query(RESTLESS_EVENTS)]:
        if time.monotonic() > started_at + patience_seconds:
            rows = "\n".join(str(row) for row in restless[:20])
            raise AssertionError(
                f"After {patience_seconds:.0f} seconds {len(restless)} sagas or events are at work:\n{rows}"
            )
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - started_at


def find_unsettled_events(project: Project) -> Iterator[str]:
    """Yield events that were lost, failed or stayed behind, and sagas that were closed too early."""
    for what, statement in UNSETTLED_EVENTS:
        yield from (f"{what}: {ledger_audit.show(row)}" for row in project.query(statement))


def count_active(project: Project) -> int | None:
    """Count the active sagas; None while the database is unavailable."""
    try:
        return int(project.query(f"SELECT count(*) AS found FROM ({RESTLESS}) AS restless")[0]["found"])  # noqa: S608
    except psycopg.OperationalError:
        return None


def read_ends(project: Project) -> dict[str, str]:
    """Return how each order ended, by number."""
    return {
        row["number"]: NEEDS_PERSON if row["is_open"] else ENDS.get(row["state"], row["state"])
        for row in project.query(ENDED)
    }


def list_held_orders(ends: Mapping[str, str]) -> set[str]:
    """Return the orders that wait for an operator."""
    return {number for number, end in ends.items() if end == NEEDS_PERSON}


def find_wrong_ends(kinds: Mapping[str, Kind], ends: Mapping[str, str]) -> Iterator[str]:
    """Yield orders that were lost, or ended in a way their kind does not allow."""
    for number, kind in kinds.items():
        end = ends.get(number, "lost")
        if end not in kind.allowed_ends:
            yield f"order {number} ({kind.name}) is {end}, not {' or '.join(sorted(kind.allowed_ends))}"


def find_share_confirmed(kinds: Mapping[str, Kind], ends: Mapping[str, str]) -> float:
    """Return the confirmed share of the checkouts that succeed without faults; 1 if there were none."""
    meant = [number for number, kind in kinds.items() if kind.name == WORKS]
    return sum(ends.get(number) == CONFIRMED for number in meant) / len(meant) if meant else 1.0


def find_lost_business(share_confirmed: float) -> list[str]:
    """Return an error if too few checkouts succeeded: cancelling everything is no way to survive chaos."""
    if share_confirmed >= CONFIRMED_AT_LEAST:
        return []
    return [f"{share_confirmed:.1%} of those that work were confirmed, not {CONFIRMED_AT_LEAST:.0%}"]


def count_ends(kinds: Mapping[str, Kind], ends: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Count the ends of the orders by kind."""
    counted: dict[str, Counter[str]] = {}
    for number, kind in kinds.items():
        counted.setdefault(kind.name, Counter())[ends.get(number, "lost")] += 1
    return counted
