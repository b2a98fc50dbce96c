"""Leftovers of killed servers outside the checkout: found and removed, never while in use."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from config.local import homes, postgres
from config.local.postgres import start_lasting_postgres, start_throwaway_postgres
from config.local.runtime import ROOT
from config.local.valkey import start_valkey
from tests.processes import wait_until

# Starts a server in a process that is killed together with its guard, labelled with a given checkout.
STARTER = """
import sys, time
from pathlib import Path
from config.local import homes
from config.local.{module} import {start}
homes.ROOT = Path(sys.argv[1])
server = {start}()
print(server.process.pid, server.process.guard.pid, server.process.log.parent, flush=True)
time.sleep(600)
"""
# The command of ``make clean``, for any Python, in the checkout.
CLEAN = 'import sys; sys.path.insert(0, "config"); from local.clean import main; sys.exit(main())'


def leave(module: str, start: str, checkout: Path) -> Path:
    """Kill a run of a checkout together with its cleanup, and return the directory it leaves behind."""
    command = [sys.executable, "-c", STARTER.format(module=module, start=start), checkout]
    starter = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    server, guard, home = starter.stdout.readline().split()
    family = [psutil.Process(int(server)), psutil.Process(int(guard))]
    psutil.Process(int(guard)).kill()
    starter.kill()
    starter.communicate(timeout=60)
    wait_until(lambda: not any(is_at_work(process) for process in family), "all of it has ended")
    return Path(home)


def is_at_work(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_in_use(home: Path) -> bool:
    with homes.locked_for_removal(home) as is_free:
        return not is_free


@pytest.mark.parametrize(
    ("module", "start"),
    [("valkey", "start_valkey"), ("postgres", "start_throwaway_postgres")],
    ids=["valkey", "postgres"],
)
def test_next_start_removes_leftovers_of_a_killed_run(
    module: str, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests that run beside this one start servers, too, and would remove what this checkout's run left.
    monkeypatch.setattr(homes, "ROOT", tmp_path)
    home = leave(module, start, tmp_path)
    assert home.exists()
    # The last process of PostgreSQL ends a moment after its first.
    wait_until(lambda: not is_in_use(home), "nobody uses it any more")

    server = start_valkey()

    is_there = server.process.log.parent.exists()
    server.process.stop()
    assert is_there is True
    assert not home.exists()


def test_directory_in_use_is_not_a_leftover() -> None:
    server = start_throwaway_postgres()
    outside = start_valkey()

    removed = homes.remove_leftovers(lasting=True)

    in_use = [
        path for path in (server.home, server.socket_directory.parent, outside.process.log.parent) if path.exists()
    ]
    for each in (server, outside):
        each.process.stop()
    assert len(in_use) == 3
    assert not set(removed) & set(in_use)


def test_directory_of_another_or_no_checkout_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "SHORT_DIRECTORY", tmp_path)
    labels = {
        "sagas-other": json.dumps({"checkout": "/somewhere/else", "is_lasting": False}),
        "sagas-broken": "{",
        "sagas-strange": "[]",
        "sagas-mine": json.dumps({"checkout": str(ROOT), "is_lasting": False}),
        "sagas-kept": json.dumps({"checkout": str(ROOT), "is_lasting": True}),
    }
    for name, label in labels.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / homes.LABEL).write_text(label)
    (tmp_path / "sagas-nothing").mkdir()
    (tmp_path / "sagas-link").symlink_to(tmp_path / "sagas-mine")

    removed = homes.remove_leftovers()

    assert [path for path in removed if path.parent == tmp_path] == [tmp_path / "sagas-mine"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "sagas-broken", "sagas-kept", "sagas-link", "sagas-nothing", "sagas-other", "sagas-strange",
    ]  # fmt: skip


@pytest.fixture
def closed_checkout(tmp_path: Path) -> Path:
    """Copy what ``make clean`` needs into a folder that other accounts cannot enter."""
    checkout = tmp_path / "closed"
    shutil.copytree(ROOT / "config" / "local", checkout / "config" / "local")
    checkout.chmod(0o700)
    return checkout


def clean(checkout: Path) -> tuple[int, str]:
    """Run ``make clean`` there with a Python that has nothing installed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", CLEAN], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_clean_removes_everything_of_a_checkout_that_is_not_running(
    closed_checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "ROOT", closed_checkout)
    var = closed_checkout / "var"
    server = start_lasting_postgres(var / "postgres")
    (var / "log").mkdir()
    while_it_runs = clean(closed_checkout)
    is_running = server.process.is_running()
    server.process.stop()
    homes.let_go(server.home)

    after = clean(closed_checkout)

    assert while_it_runs[0] == 1
    assert f"In use, not removed: {server.home}" in while_it_runs[1]
    assert is_running is True
    assert after[0] == 0
    assert f"Removed {server.home if postgres.choose_account() else var / 'postgres'}" in after[1]
    assert not server.home.exists()
    assert list(var.iterdir()) == []
    assert clean(closed_checkout) == (0, "")


def test_clean_refuses_while_a_demo_runs(closed_checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.demo import run

    var = closed_checkout / "var"
    monkeypatch.setattr(run, "VAR", var)
    with run.hold_lock():
        (var / "secret_key").write_text("x")
        refused = clean(closed_checkout)
    done = clean(closed_checkout)

    assert refused == (
        1,
        "A demo of this checkout is running; nothing was removed. Stop it with Ctrl-C in its terminal.\n",
    )
    assert done[0] == 0
    assert list(var.iterdir()) == []


def test_clean_removes_outside_data_of_an_earlier_version(closed_checkout: Path, tmp_path: Path) -> None:
    outside = tmp_path / "sagas-before"
    outside.mkdir()
    var = closed_checkout / "var"
    var.mkdir()
    (var / "postgres.location").write_text(str(outside))

    done = clean(closed_checkout)

    assert done[0] == 0
    assert not outside.exists()
