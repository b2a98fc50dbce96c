"""README tutorial, followed literally in an empty directory."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.local.children import start_guarded, wait_until_ready
from config.local.valkey import keep_free_port
from tests.browsing import Browser
from tests.servers import SERVER_VARIABLE
from tests.servers_rabbitmq import listens

from .environments import make_environment, new_database, run
from .tutorial import BOOK, Tutorial, follow, libpq_variables, read_command, read_other_packages, read_second_part


@pytest.fixture(scope="module")
def tutorial(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tutorial]:
    """Follow the README in an environment as its reader installs it."""
    python = make_environment(tmp_path_factory.mktemp("reader"), wheel, *read_other_packages())
    with new_database(os.environ[SERVER_VARIABLE], "agency") as parameters:
        yield follow(python, tmp_path_factory.mktemp("agency"), libpq_variables(parameters))


def test_every_block_runs_without_a_broker_and_completes_the_saga(tutorial: Tutorial) -> None:
    last = {name: tutorial.outputs[name] for name in tutorial.outputs if "saga_" in name or "check" in name}

    assert len(tutorial.outputs) == 7
    assert f'python manage.py shell -c "{BOOK}"' in tutorial.outputs
    assert "no issues" in last["python manage.py check --database default"]
    assert "Handled 1 due sagas" in last["python manage.py saga_sweep --run        # with --loop: forever"]
    assert "completed" in last["python manage.py saga_list"]
    assert "python manage.py test" in tutorial.outputs
    assert tutorial.list_states()[0] == "completed"


def test_console_shows_the_trip_to_the_readers_user(tutorial: Tutorial) -> None:
    [saga] = [saga["id"] for saga in json.loads(tutorial.run("python manage.py saga_list --json"))][-1:]
    # The reader types the values of these variables.
    answers = {f"DJANGO_SUPERUSER_{name}": value for name, value in (("USERNAME", "ada"), ("PASSWORD", "lovelace"))}
    made = run(
        ["/bin/sh", "-c", f"{read_command('python manage.py createsuperuser')} --noinput --email ada@example.com"],
        directory=tutorial.directory,
        **tutorial.variables,
        **answers,
    )
    port = keep_free_port()
    server = start_guarded(
        "runserver",
        [*read_command("python manage.py runserver").split(), "--noreload", str(port)],
        log=tutorial.directory / "runserver.log",
        environment={**tutorial.variables, "HOME": str(tutorial.directory)},
        directory=tutorial.directory,
    )
    reader = Browser(f"http://127.0.0.1:{port}")
    wait_until_ready(server, lambda: listens(port), timeout_seconds=60)

    reader.log_in("ada", "lovelace")
    pages = {path: reader.ask(path) for path in ("/admin/", "/admin/sagas/saga/", f"/admin/sagas/saga/{saga}/change/")}
    style = reader.ask("/static/sagas/page.css")[0]
    server.stop()

    assert "Superuser created" in made
    assert [status for status, _ in pages.values()] == [200, 200, 200]
    assert 'href="/admin/sagas/saga/"' in pages["/admin/"][1]
    assert f'href="/admin/sagas/saga/{saga}/change/' in pages["/admin/sagas/saga/"][1]
    for word in ("completed", "place_trip", "hold_seats", "pay", "confirm_trip"):
        assert word in pages[f"/admin/sagas/saga/{saga}/change/"][1]
    assert style == 200
    assert "Traceback" not in (tutorial.directory / "runserver.log").read_text()


def test_worker_completes_a_trip_once_there_is_a_broker(tutorial: Tutorial) -> None:
    before = len(tutorial.list_states())

    log = tutorial.run_worker()

    assert before == 1
    assert tutorial.list_states() == ["completed", "completed"]
    assert "Traceback" not in log


def test_second_part_completes_a_held_saga_and_runs_the_explorer(tutorial: Tutorial) -> None:
    blocks = read_second_part()
    at_hold = next(index for index, (_, text) in enumerate(blocks) if "saga_list --attention" in text) + 1
    tutorial.follow(blocks[:at_hold], {})
    [held] = [saga for saga in json.loads(tutorial.run("python manage.py saga_list --json")) if saga["needs"]]
    tutorial.follow([(language, text.replace(" ID", f" {held['id']}")) for language, text in blocks[at_hold:]], {})

    assert held["needs"] == ["outcome_unknown"]
    assert "held" in tutorial.outputs["python manage.py saga_list --attention"]
    assert "The bank answers again" in tutorial.outputs[f"python manage.py saga_show {held['id']}"]
    assert set(tutorial.list_states()) == {"completed"}
    assert "seats held" in tutorial.outputs["python manage.py saga_explore trip"]
