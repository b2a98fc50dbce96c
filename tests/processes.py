"""Run the project as its users do: real gunicorn and Celery processes on a real database of their own.

Every process stands behind a guard of ``config/local``: it ends with the test run, and a signal meant for it can reach
nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from config.local.children import GuardedProcess, start_guarded, wait_until_ready
from config.local.programs import manage_command, web_command, worker_command
from config.local.runtime import ROOT
from config.local.valkey import keep_free_port
from examples.demo.client import ShopClient

# So short that a lease, a sweep and every retry end within a few seconds; yet a time-out is long enough for a machine
# that is busy with other tests. A compensation whose budget is spent waits for a person, not for its next attempt.
FAST_ENGINE: Mapping[str, Any] = {
    "TIMEOUT": 2.0,
    "LEASE_MARGIN": 1.0,
    "RETRY": {"attempts": 4, "base": 0.1, "cap": 0.5},
    "COMPENSATION_RETRY": {"attempts": 4, "base": 0.1, "cap": 0.5, "after_budget": 3600.0},
    "POLL_AFTER": 0.2,
    "TIME_SLICE": 5.0,
    "WAKEUP_INTERVAL": 0.5,
    "SWEEP_INTERVAL": 0.2,
}


# For workers whose every attempt shall come to its own end, however slow the machine is: what is short is only how soon
# they look again.
UNHURRIED_ENGINE: Mapping[str, Any] = {**FAST_ENGINE, "TIMEOUT": 60.0, "LEASE_MARGIN": 120.0}

# How long a test waits for what takes a second or two on an idle machine, and for a process that was killed.
BUSY_MACHINE_SECONDS = 90.0
KILLED_WITHIN_SECONDS = 60.0


class Process:
    """A real process that a test may hurt."""

    def __init__(self, guarded: GuardedProcess) -> None:
        self.guarded = guarded

    @property
    def pid(self) -> int:
        """Report the process id."""
        return self.guarded.pid

    @property
    def is_running(self) -> bool:
        """Return whether it has not ended."""
        return self.guarded.is_running()

    @property
    def log(self) -> str:
        """Read all that it has written so far."""
        return self.guarded.log.read_text(errors="replace")

    def signal(self, number: signal.Signals, *, whole_group: bool = False) -> None:
        """Send a signal; it is an error when the process has ended already."""
        if not self.guarded.send(number, whole_group=whole_group):
            raise ProcessLookupError(f"{self.guarded.name} has ended; nothing is left to send {number.name} to.")

    def kill(self) -> None:
        """Kill it and all its children with SIGKILL, and wait until they are gone."""
        self.signal(signal.SIGKILL, whole_group=True)
        self.guarded.wait(KILLED_WITHIN_SECONDS)

    def pause(self) -> None:
        """Stop it and all its children with SIGSTOP, and wait until each of them stands still."""
        family = self.family()
        self.signal(signal.SIGSTOP, whole_group=True)
        for member in family:
            wait_until(lambda member=member: member.status() == psutil.STATUS_STOPPED, f"{member} is stopped")

    def resume(self) -> None:
        """Let it and its children go on after a pause."""
        self.signal(signal.SIGCONT, whole_group=True)

    def stop(self) -> None:
        """Stop it gently, as a supervisor would, also when it is paused, and wait until it is gone."""
        if self.is_running:
            self.guarded.send(signal.SIGCONT, whole_group=True)
        self.guarded.stop()

    def kill_child(self, pid: int) -> None:
        """Kill one child (of a prefork pool) with SIGKILL, and wait until it is gone.

        Raises: ProcessLookupError when it is no child of this process.
        """
        for child in self.family()[1:]:
            if child.pid == pid:
                child.kill()
                child.wait(KILLED_WITHIN_SECONDS)
                return
        raise ProcessLookupError(f"{self.guarded.name} has no child {pid}; nothing was killed.")

    def family(self) -> list[psutil.Process]:
        """List the process itself and all that it has started."""
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    @property
    def pids(self) -> frozenset[int]:
        """The process ids of the process itself and of all that it has started."""
        return frozenset(process.pid for process in self.family())


@dataclass(kw_only=True)
class Project:
    """The whole project on databases and a broker of a test's own.

    environment: of all its processes. directory: for their logs.
    """

    environment: dict[str, str]
    directory: Path
    processes: list[Process] = field(default_factory=list)

    def with_environment(self, **changes: str) -> Project:
        """Describe the same project with other settings; what it starts is stopped together with the rest."""
        return Project(environment={**self.environment, **changes}, directory=self.directory, processes=self.processes)

    def manage(
        self, *arguments: str, timeout_seconds: float = 120, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a management command to its end."""
        done = subprocess.run(
            manage_command(*arguments),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"manage.py {' '.join(arguments)} exited {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def start_web(self, *, workers: int = 1, threads: int = 8) -> tuple[Process, ShopClient]:
        """Start gunicorn on a free port and wait until it answers."""
        port = keep_free_port()
        client = ShopClient(url=f"http://127.0.0.1:{port}")
        process = self.start("web", web_command(port, workers=workers, threads=threads))
        wait_until_ready(process.guarded, lambda: answers(client), timeout_seconds=BUSY_MACHINE_SECONDS)
        return process, client

    def start_worker(
        self, name: str = "worker", *, concurrency: int = 1, queues: str = "", ready: bool = True
    ) -> Process:
        """Start a Celery worker, and wait until it consumes unless there is no broker to consume from."""
        process = self.start(name, worker_command(name, concurrency=concurrency, queues=queues))
        if ready:
            wait_until_ready(process.guarded, lambda: " ready." in process.log, timeout_seconds=BUSY_MACHINE_SECONDS)
        return process

    def start_command(self, name: str, *arguments: str) -> Process:
        """Start a management command that runs until it is stopped, such as ``saga_sweep --loop --run``."""
        return self.start(name, manage_command(*arguments))

    def start(self, name: str, command: Sequence[str]) -> Process:
        """Start any process of the project."""
        log = self.directory / f"{name}-{len(self.processes)}.log"
        guarded = start_guarded(name, command, log=log, environment=self.environment, directory=ROOT)
        process = Process(guarded)
        self.processes.append(process)
        return process

    def stop_all(self) -> None:
        """End every process that is still there, at once: what is left of the data is thrown away anyway."""
        while self.processes:
            process = self.processes.pop()
            if process.is_running:
                process.kill()
            process.stop()

    def query(
        self, statement: str, parameters: Sequence[object] = (), *, database: str = "DATABASE_URL"
    ) -> list[dict[str, Any]]:
        """Read rows by SQL, past the project's own code."""
        url = self.environment.get(database, self.environment["DATABASE_URL"])
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(statement, parameters).fetchall()


def describe_project(database_urls: Mapping[str, str], broker_url: str, directory: Path) -> Project:
    """Describe a project in the environment that its processes get, and nothing of the test run's.

    Shape: database_urls has the names of the settings, DATABASE_URL and perhaps those of participants.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return Project(
        directory=directory,
        environment={
            **kept,
            **database_urls,
            "CELERY_BROKER_URL": broker_url,
            "SECRET_KEY": "only-for-acceptance-tests",
            "ALLOWED_HOSTS": "127.0.0.1",
            "HTTPS_ONLY": "off",
            "CHECKOUT_RATE": "100000/second",
            "LOG_IN_RATE": "1000/second",
            "LOG_IN_ACCOUNT_RATE": "1000/second",
            "LOG_LEVEL": "INFO",
            "PYTHONUNBUFFERED": "1",
            "SAGAS": json.dumps(FAST_ENGINE),
        },
    )


def answers(client: ShopClient) -> bool:
    """Return whether a web server answers at all."""
    try:
        return client.request("GET", "/healthz").status < 500
    except OSError:
        return False


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout_seconds: float = BUSY_MACHINE_SECONDS,
    pause_seconds: float = 0.02,
) -> None:
    """Wait for a condition with a bound.

    pause_seconds: between two looks; longer where looking costs something.
    Raises: AssertionError that names what did not happen.
    """
    give_up_at = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"After {timeout_seconds:.0f} seconds still not: {what}.")
        time.sleep(pause_seconds)
