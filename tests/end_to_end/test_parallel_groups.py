"""Parallel steps on two workers, and a step whose own queue is served by only one."""

from pathlib import Path

import pytest

from tests.processes import Project, wait_until

from .rendezvous.sagas import HEAVY_QUEUE
from .shops import LOOK_SECONDS, PATIENCE_SECONDS, SETTINGS_WITH_STOPS


@pytest.fixture
def samples(project: Project) -> Project:
    """Add the sample sagas to the project."""
    return project.with_environment(DJANGO_SETTINGS_MODULE=SETTINGS_WITH_STOPS)


def test_steps_run_where_their_queue_is_served_and_groups_side_by_side(samples: Project, tmp_path: Path) -> None:
    light = samples.start_worker("light", queues="sagas")
    lifted = start(samples, "heavy")
    wait_until_woken_without_worker(samples, lifted)
    assert find_workers(samples, lifted, "lift") == []

    heavy = samples.start_worker("heavy", queues=f"sagas,{HEAVY_QUEUE}")
    wait_until_state(samples, lifted, "completed")
    assert set(find_workers(samples, lifted, "begin")) <= light.pids
    assert set(find_workers(samples, lifted, "lift")) <= heavy.pids

    completed = start(samples, "rendezvous", "--directory", str(make(tmp_path / "completed")))
    wait_until_state(samples, completed, "completed")
    # Sequentially: two meetings at once could block a worker each.
    refused = start(samples, "rendezvous", "--refused", "--directory", str(make(tmp_path / "refused")))
    wait_until_state(samples, refused, "compensated")
    for saga, direction in ((completed, "action"), (refused, "action"), (refused, "compensation")):
        met = {step: find_workers(samples, saga, step, direction)[-1] for step in ("left", "right")}
        assert len(set(met.values()) & light.pids) == 1, met
        assert len(set(met.values()) & heavy.pids) == 1, met
    assert [len(find_workers(samples, saga, "decision")) for saga in (completed, refused)] == [1, 1]
    assert find_workers(samples, refused, "finish") == []


def make(directory: Path) -> Path:
    """Create a directory for marks."""
    directory.mkdir()
    return directory


def start(project: Project, *arguments: str) -> str:
    """Start a sample saga.

    Returns: its id.
    """
    return project.manage("start_sample", *arguments).stdout.strip()


def wait_until_state(project: Project, saga: str, state: str) -> None:
    """Wait until a saga has a state."""
    wait_until(
        lambda: project.query("SELECT state FROM sagas_saga WHERE id = %s", [saga])[0]["state"] == state,
        f"saga {saga} is {state}",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )


def wait_until_woken_without_worker(project: Project, saga: str) -> None:
    """Wait until a sweep has woken a step in the queue without a worker."""
    statement = "SELECT count(*) AS woken FROM sagas_saga WHERE id = %s AND queue = %s AND woken_at IS NOT NULL"
    wait_until(
        lambda: project.query(statement, [saga, HEAVY_QUEUE])[0]["woken"] == 1,
        f"saga {saga} was woken in vain",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )


def find_workers(project: Project, saga: str, step: str, direction: str = "action") -> list[int]:
    """Return the process ids of a step's attempts, in order."""
    statement = """SELECT a.worker FROM sagas_sagaattempt a JOIN sagas_sagastep t ON t.id = a.step_id
        WHERE a.saga_id = %s AND t.name = %s AND a.direction = %s ORDER BY a.number"""
    return [int(row["worker"].rpartition(":")[2]) for row in project.query(statement, [saga, step, direction])]
