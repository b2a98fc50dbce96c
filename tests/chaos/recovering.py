"""Measure how long a killed process's sagas stood still."""

from collections.abc import Sequence

from tests.processes import Project

from .breaking import Kill

# The end of an attempt of a dead worker is written by whoever takes its saga over, together with what follows.
LOST = """
    SELECT a.worker, extract(epoch FROM a.started_at)::float AS started_at, extract(epoch FROM a.ended_at)::float AS ended_at
    FROM sagas_sagaattempt a WHERE a.worker <> '' AND (a.ended_at IS NULL OR a.error_class = 'sagas.LostWorker')
    """  # noqa: E501


def measure_recoveries(project: Project, kills: Sequence[Kill]) -> list[float]:
    """Return, for each kill that hit a process with a lease, after how many seconds the last of its sagas moved on.

    Raises: AssertionError when one has not.
    """
    killed_at = {pid: kill.at for kill in kills for pid in kill.pids}
    slowest: dict[float, float] = {}
    for row in project.query(LOST):
        at = killed_at.get(int(row["worker"].rpartition(":")[2]))
        if at is None or row["started_at"] > at:
            continue
        if row["ended_at"] is None:
            raise AssertionError(f"The attempt of {row['worker']}, killed at {at}, has not ended: {row}")
        slowest[at] = max(slowest.get(at, 0.0), row["ended_at"] - at)
    return sorted(slowest.values())
