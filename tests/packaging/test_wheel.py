"""Wheel: the whole engine and nothing else, usable in another Django project."""

import json
import shutil
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from config.local.runtime import ROOT

from .environments import run

PROJECT = Path(__file__).with_name("project")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def tiny(clean_python: Path, tiny_database: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs the tiny project's scripts in the clean environment."""
    directory = tmp_path_factory.mktemp("tiny") / "project"
    shutil.copytree(PROJECT, directory, ignore=shutil.ignore_patterns("__pycache__"))
    settings = json.dumps(tiny_database)

    def run_script(*arguments: str, **variables: str) -> str:
        return run([str(clean_python), *arguments], directory=directory, TINY_DATABASE=settings, **variables)

    run_script("manage.py", "migrate", "--verbosity", "0")
    return run_script


def test_wheel_holds_every_file_of_the_engine_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    files = [path for path in (ROOT / "sagas").rglob("*") if path.is_file() and "__pycache__" not in path.parts]

    assert packed == {path.relative_to(ROOT).as_posix() for path in files}
    assert {"sagas/py.typed", "sagas/migrations/0001_initial.py", "sagas/static/sagas/console.css"} <= packed
    assert any(name.startswith("sagas/templates/admin/sagas/") for name in packed)
    assert any(name.startswith("sagas/testing/") for name in packed)


def test_wheel_requires_only_django_celery_and_fsm(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    required = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}

    assert required == {"Django<6.2,>=5.2", "django-fsm-2<5,>=4.2.4", "celery<5.8,>=5.6.2"}
    assert "metrics" in metadata.get_all("Provides-Extra", [])
    assert metadata["License-Expression"] == "MIT"


def test_engine_is_imported_from_the_wheel_and_needs_nothing_of_the_shop(tiny: Run, clean_python: Path) -> None:
    seen = json.loads(tiny("use.py", "installation"))

    assert Path(seen["engine"]).is_relative_to(clean_python.parents[1])
    assert seen["present"] == []
    assert seen["has_task"] is True
    assert seen["queues_of_a_plain_worker"] == [seen["queue_of_steps"]]


def test_new_project_passes_every_check_with_and_without_the_admin(tiny: Run) -> None:
    checked = "System check identified no issues"

    assert checked in tiny("manage.py", "check", "--database", "default", "--fail-level", "WARNING")
    assert checked in tiny("manage.py", "check", "--fail-level", "WARNING", TINY_WITHOUT_ADMIN="1")
    assert "No changes detected" in tiny("manage.py", "makemigrations", "--check", "--dry-run")


def test_events_that_are_on_need_their_extra(tiny: Run) -> None:
    with pytest.raises(
        AssertionError, match=r"(?s)sagas\.E029.*cloudevents is not installed.*sagas-for-django\[events\]"
    ):
        tiny("manage.py", "check", TINY_EVENTS_URL="memory://")


def test_new_project_runs_a_saga_forward_and_back_without_any_broker(tiny: Run) -> None:
    small, large = json.loads(tiny("use.py", "book"))
    before = {saga["id"]: saga["state"] for saga in json.loads(tiny("manage.py", "saga_list", "--json"))}

    tiny("manage.py", "saga_sweep", "--run")

    after = {saga["id"]: saga["state"] for saga in json.loads(tiny("manage.py", "saga_list", "--json"))}
    assert (before[small], before[large]) == ("pending", "pending")
    assert (after[small], after[large]) == ("completed", "compensated")
    transcript = tiny("manage.py", "saga_show", large)
    assert "TooManySeats" in transcript
    assert "hold_seats" in transcript
    pages = json.loads(tiny("use.py", "pages"))
    assert len(pages) >= 4
    assert set(pages.values()) == {200}
