"""The README's tutorial works as it is written: its files and its commands, in their order, in an empty directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import SERVER_VARIABLE

from .environments import make_environment, new_database
from .tutorial import BOOK, Tutorial, follow, libpq_variables, read_beside


@pytest.fixture(scope="module")
def tutorial(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tutorial]:
    """Follow the README, in an environment of what its reader installs."""
    python = make_environment(tmp_path_factory.mktemp("reader"), wheel, *read_beside())
    with new_database(os.environ[SERVER_VARIABLE], "agency") as parameters:
        yield follow(python, tmp_path_factory.mktemp("agency"), libpq_variables(parameters))


def test_every_block_runs_without_a_broker_and_the_saga_is_completed(tutorial: Tutorial) -> None:
    last = {name: tutorial.outputs[name] for name in tutorial.outputs if "saga_" in name or "check" in name}

    assert len(tutorial.outputs) == 7
    assert f'python manage.py shell -c "{BOOK}"' in tutorial.outputs
    assert "no issues" in last["python manage.py check --database default"]
    assert "Looked at 1 due sagas" in last["python manage.py saga_sweep --run        # with --loop: for ever"]
    assert "completed" in last["python manage.py saga_list"]
    assert "python manage.py test" in tutorial.outputs
    assert tutorial.list_states()[0] == "completed"


def test_worker_completes_a_trip_as_soon_as_there_is_a_broker(tutorial: Tutorial) -> None:
    before = len(tutorial.list_states())

    log = tutorial.run_worker()

    assert before == 1
    assert tutorial.list_states() == ["completed", "completed"]
    assert "Traceback" not in log
