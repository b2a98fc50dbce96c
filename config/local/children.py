"""Child processes that never outlive this process, however it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

GUARD = Path(__file__).with_name("guard.py")

# SIGTERM first; the guard then kills remaining processes by SIGKILL.
STOP_GENTLY = ((signal.SIGTERM, 15.0),)


class ServerDidNotStart(Exception):
    """A local server could not be started, or ended before it was ready; the message has the end of its log."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Account of the operating system that a server runs under.

    name: its name in the system. uid, gid: its numbers.
    """

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class GuardedProcess:
    """Running process and the guard that stops it.

    name: for messages. pid: of the process itself. log: file of its output. output: the same, opened for reading before
    the start, because the guard may remove the file. guard: the process between.
    """

    name: str
    pid: int
    log: Path
    output: BinaryIO
    guard: subprocess.Popen[bytes]

    def is_running(self) -> bool:
        """Return whether the process has not ended yet."""
        return self.guard.poll() is None

    def send(self, number: signal.Signals, *, whole_group: bool = False) -> bool:
        """Send a signal to the process, or to its whole process group; never to any other process.

        Returns: whether the process was still running.
        """
        line = f"{'group ' if whole_group else ''}{int(number)}\n".encode()
        assert self.guard.stdin is not None and self.guard.stdout is not None  # noqa: S101, PT018
        try:
            self.guard.stdin.write(line)
            self.guard.stdin.flush()
            return self.guard.stdout.readline() == b"sent\n"
        except BrokenPipeError:
            return False

    def wait(self, timeout_seconds: float) -> int:
        """Wait for the process to end by itself.

        Returns: its exit code, 256 minus the signal's number if a signal ended it.
        Raises: subprocess.TimeoutExpired.
        """
        return self.guard.wait(timeout_seconds)

    def stop(self) -> None:
        """Stop the process, gently first, and wait until it has ended."""
        assert self.guard.stdin is not None and self.guard.stdout is not None  # noqa: S101, PT018
        with contextlib.suppress(BrokenPipeError):
            self.guard.stdin.close()
        self.guard.wait()
        self.guard.stdout.close()
        self.output.close()

    def read_log_end(self, lines: int = 20) -> str:
        """Return the last lines of the process's output, even if its log was removed; not usable after ``stop``."""
        self.output.seek(0)
        return "\n".join(self.output.read().decode(errors="replace").splitlines()[-lines:])


def start_guarded(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    account: Account | None = None,
    stop: Sequence[tuple[int, float]] = STOP_GENTLY,
    remove: Sequence[Path] = (),
    hold: Sequence[Path] = (),
) -> GuardedProcess:
    """Start a process that is stopped when this one stops it, ends, or is killed.

    Shape: stop is a list of (signal, seconds to wait), the gentlest first; remove lists directories that the guard
    deletes after the process ended; hold lists those whose lock (see homes) it and the process keep meanwhile.
    Raises: ServerDidNotStart if the command cannot be run at all.
    """
    order = {
        "command": [str(part) for part in command],
        "log": str(log),
        "directory": str(directory or Path.cwd()),
        "uid": account.uid if account else None,
        "gid": account.gid if account else None,
        "stop": [(int(number), seconds) for number, seconds in stop],
        "remove": [str(path) for path in remove],
        "hold": [str(path) for path in hold],
    }
    output = open_log(log)
    guard = subprocess.Popen(
        [sys.executable, "-S", "-E", str(GUARD), json.dumps(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        # The process inherits it; every user could read it on the guard's command line.
        env=dict(os.environ if environment is None else environment),
        # A session of its own, so that Ctrl-C at the terminal reaches only the starter, which then stops in order.
        start_new_session=True,
    )
    assert guard.stdout is not None  # noqa: S101
    pid = guard.stdout.readline()
    if not pid:
        output.close()
        raise ServerDidNotStart(f"{name} did not start: cannot run {command[0]}.")
    return GuardedProcess(name=name, pid=int(pid), log=log, output=output, guard=guard)


def open_log(log: Path) -> BinaryIO:
    """Open a log for reading, created if missing with the guard's permissions: for its owner only."""
    return os.fdopen(os.open(log, os.O_RDONLY | os.O_CREAT, 0o600), "rb")


def wait_until_ready(process: GuardedProcess, is_ready: Callable[[], bool], *, timeout_seconds: float = 30) -> None:
    """Wait until a started server answers.

    Raises: ServerDidNotStart if it ends first or does not answer in time.
    """
    give_up_at = time.monotonic() + timeout_seconds
    while not is_ready():
        ended = not process.is_running()
        if ended or time.monotonic() > give_up_at:
            reason = "exited at once" if ended else f"did not answer within {timeout_seconds:.0f} seconds"
            end_of_log = process.read_log_end()
            process.stop()
            raise ServerDidNotStart(f"{process.name} {reason}. The end of its log {process.log}:\n{end_of_log}")
        time.sleep(0.02)
