"""Recovery times of sagas whose worker was killed."""

from collections.abc import Sequence

from tests.processes import Project

from .breaking import Kill

# The worker that takes a saga over records the end of the dead worker's attempt.
LOST = """
    SELECT a.worker, extract(epoch FROM a.started_at)::float AS started_at, extract(epoch FROM a.ended_at)::float AS ended_at
    FROM sagas_sagaattempt a WHERE a.worker <> '' AND (a.ended_at IS NULL OR a.error_class = 'sagas.LostWorker')
    """  # noqa: E501


def measure_recoveries(project: Project, kills: Sequence[Kill]) -> list[float]:
    """Return, for each kill of a process with a lease, the seconds until the last of its sagas progressed.

    Raises: AssertionError if one has not.
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
