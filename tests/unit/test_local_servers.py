"""Local servers of demo and tests: private, and ended with the process that started them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from config.local import postgres
from config.local import valkey as valkey_module
from config.local.children import GuardedProcess, ServerDidNotStart, start_guarded
from config.local.postgres import LocalPostgres, start_lasting_postgres, start_throwaway_postgres
from config.local.runtime import ROOT
from config.local.valkey import find_free_port, start_valkey, start_valkey_on
from examples.demo import shop
from tests.processes import wait_until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
]  # fmt: skip

# Starts a Valkey, prints the process ids of server and guard, and waits to be killed.
# It listens to Ctrl-C also where this run itself was started in the background, which ignores it.
STARTER = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from config.local.valkey import start_valkey
server = start_valkey()
print(server.process.pid, server.process.guard.pid, flush=True)
time.sleep(600)
"""


def test_stop_ends_the_process_and_its_children(tmp_path: Path) -> None:
    parent = [sys.executable, "-c", f"import subprocess, time; subprocess.Popen({SLEEP!r}); time.sleep(600)"]
    process = start_guarded("parent", parent, log=tmp_path / "log")
    wait_until(lambda: len(psutil.Process(process.pid).children()) == 1, "the child is there")
    child = psutil.Process(process.pid).children()[0]

    process.stop()

    assert not process.is_running()
    wait_until(lambda: is_gone(child), "the child is gone")


def test_stop_kills_a_process_that_ignores_the_gentle_signal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start_guarded("stubborn", STUBBORN, log=log, stop=[(signal.SIGTERM, 0.1)])
    wait_until(lambda: "ready" in log.read_text(), "the signal is ignored")

    process.stop()

    assert not psutil.pid_exists(process.pid)


def test_signal_reaches_the_process_and_is_refused_after_its_end(tmp_path: Path) -> None:
    process = start_guarded("sleep", SLEEP, log=tmp_path / "log")

    assert process.send(signal.SIGKILL) is True
    assert process.wait(10) == 256 - signal.SIGKILL
    assert process.send(signal.SIGKILL) is False
    process.stop()


def test_command_that_cannot_run_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ServerDidNotStart, match="nothing did not start"):
        start_guarded("nothing", [tmp_path / "nothing"], log=tmp_path / "log")


def test_log_is_readable_after_the_guard_removed_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    process = start_guarded("speaker", [sys.executable, "-c", "print('farewell')"], log=home / "log", remove=[home])
    process.wait(30)

    log_end = process.read_log_end()
    process.stop()

    assert log_end == "farewell"
    assert not home.exists()


def test_valkey_on_a_taken_port_is_reported_with_its_log() -> None:
    older = start_valkey()

    with pytest.raises(ServerDidNotStart, match=r"(?s)Valkey exited at once.*Address already in use") as raised:
        start_valkey_on(older.port)

    older.process.stop()
    assert str(older.port) in str(raised.value)


def test_valkey_uses_another_port_if_the_free_one_was_taken_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    older = start_valkey()
    found = iter([older.port, free := find_free_port()])
    monkeypatch.setattr(valkey_module, "keep_free_port", lambda: next(found))

    server = start_valkey()

    server.process.stop()
    older.process.stop()
    assert server.port == free


def test_supervised_server_is_restarted_after_a_failed_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shop, "RESTART_SECONDS", 0.0)
    first = start_guarded("first", [sys.executable, "-c", ""], log=tmp_path / "first")
    second = start_guarded("second", SLEEP, log=tmp_path / "second")
    answers = iter([ServerDidNotStart("The port is taken."), second])

    def start() -> GuardedProcess:
        answer = next(answers)
        if isinstance(answer, ServerDidNotStart):
            raise answer
        return answer

    supervised = shop.Supervised("Valkey", first, start)
    first.wait(30)

    supervised.ensure_running()
    supervised.ensure_running()
    supervised.ensure_running()

    is_running = supervised.process.is_running()
    supervised.stop()
    again = "Valkey has ended; restarting it."
    assert capsys.readouterr().out.splitlines() == [again, "The port is taken.", again]
    assert supervised.process is second
    assert is_running is True


def test_logs_and_warnings_of_the_demo_go_to_a_file(tmp_path: Path) -> None:
    speak = (
        "import logging, pathlib, sys, warnings; from examples.demo.shop import write_log_to; logging.basicConfig();"
        " write_log_to(pathlib.Path(sys.argv[1])); logging.warning('a line'); warnings.warn('a warning')"
    )
    command = [sys.executable, "-c", speak, str(tmp_path / "demo.log")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    log = (tmp_path / "demo.log").read_text()
    assert (done.stdout, done.stderr) == ("", "")
    assert "a line" in log
    assert "a warning" in log


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_server_ends_with_its_starter(number: signal.Signals) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert starter.stdout is not None
    server, guard = (psutil.Process(int(pid)) for pid in starter.stdout.readline().split())

    starter.send_signal(number)

    starter.communicate(timeout=30)
    wait_until(lambda: is_gone(server), "the server is gone")
    wait_until(lambda: is_gone(guard), "the guard is gone")


def test_server_ends_when_even_its_guard_is_killed() -> None:
    server = start_valkey()
    process = psutil.Process(server.process.pid)

    server.process.guard.kill()

    wait_until(lambda: is_gone(process), "the server is gone")
    server.process.stop()
    # Another process of this run that starts a server may already have removed it.
    shutil.rmtree(server.process.log.parent, ignore_errors=True)


def test_postgres_has_no_port_and_a_private_socket() -> None:
    server = start_throwaway_postgres()
    with psycopg.connect(server.url_of("postgres")) as connection:
        listened = connection.execute("SHOW listen_addresses").fetchone()
    mode = server.socket_directory.stat().st_mode & 0o777

    server.process.stop()

    assert listened == ("",)
    assert mode == 0o700
    assert not server.home.exists()


def test_persistent_postgres_keeps_its_data_in_a_path_with_a_space(open_directory: Path) -> None:
    directory = open_directory / "postgres"
    first = start_lasting_postgres(directory)
    execute(first, "CREATE DATABASE kept")
    first.process.stop()

    second = start_lasting_postgres(directory)
    found = execute(second, "SELECT datname FROM pg_database WHERE datname = 'kept'")
    second.process.stop()

    assert " " in str(directory)
    assert second.home == first.home == directory
    assert found == [("kept",)]


def test_leftover_server_is_stopped_before_the_next_start(open_directory: Path) -> None:
    directory = open_directory / "postgres"
    forgotten = start_lasting_postgres(directory)

    second = start_lasting_postgres(directory)
    answer = execute(second, "SELECT 1")
    second.process.stop()

    assert answer == [(1,)]
    assert not psutil.pid_exists(forgotten.process.pid)
    forgotten.process.stop()


def test_postgres_never_runs_as_root_or_opens_a_directory(tmp_path: Path) -> None:
    """As root, the account of PostgreSQL cannot reach a closed checkout, so its data lies outside."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    server = start_lasting_postgres(closed / "postgres")
    owner = psutil.Process(server.process.pid).uids().real
    paths = (server.home, server.process.log, server.home / "data")
    owned_by_root = [path.stat().st_uid == 0 for path in paths]
    server.process.stop()

    account = postgres.choose_account()
    assert owner != 0
    assert owner == (account.uid if account else os.geteuid())
    assert closed.stat().st_mode & 0o777 == 0o700
    assert server.home.is_relative_to(closed) is (account is None)
    if account:
        assert owned_by_root == [True, True, False]
        assert (closed / "postgres.location").read_text() == str(server.home)
        shutil.rmtree(server.home, ignore_errors=True)


def test_copied_binaries_run_next_to_the_data(open_directory: Path) -> None:
    package = postgres.find_binaries(open_directory, None).parents[1]

    binaries = postgres.copy_binaries(package, open_directory / "binaries")

    version = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("postgres (PostgreSQL) 18")
    assert (binaries.parent / "share" / "postgresql" / "postgres.bki").exists()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Make a directory accessible to every account, as checkouts usually are, unlike pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="sagas checkout ") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def is_gone(process: psutil.Process) -> bool:
    """Return whether a process has ended, even if its exit code was not collected yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def execute(server: LocalPostgres, statement: str) -> list[tuple[object, ...]]:
    """Run one statement on the maintenance database."""
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []
