"""Guard process between a starter and one server process, so that the server never outlives its starter.

Run as a script with one JSON argument. Its standard input is a pipe that only the starter holds: the end of that pipe,
or a termination signal, stops the server. Lines on the pipe request signals. Because the guard is the parent that has
not yet reaped the server, a signal can never reach another process with the same id.

Imports only the standard library: it must start fast and in any working directory.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1
# How often the guard checks that its starter is still its parent: the pipe alone is not enough if a fork of the
# starter has a copy of its end.
PARENT_CHECK_SECONDS = 0.5
TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_guarded(order: dict[str, Any]) -> int:
    """Start the ordered process, serve the starter's pipe, and stop the process when the starter has ended.

    Shape: order as ``children.start_guarded`` writes it.
    Returns: the exit code of the process; negative if a signal ended it.
    """
    wakeup = watch_signals()
    server = start_server(order)
    print(server.pid, flush=True)
    try:
        serve_starter(server, wakeup)
        stop_server(server, order["stop"])
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, signal.SIGKILL)
        for path in order["remove"]:
            shutil.rmtree(path, ignore_errors=True)
    return server.wait()


def watch_signals() -> int:
    """Report termination signals and the end of a child as bytes in a pipe.

    Returns: the reading end of the pipe.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*TERMINATION_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reading


def start_server(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the process in its own process group, under another account if one is ordered."""
    account = {"user": order["uid"], "group": order["gid"], "extra_groups": []} if order["uid"] is not None else {}
    locks = lock_directories(order["hold"])
    # Servers quote requests in their logs, so only the starter may read them.
    with os.fdopen(os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
        return subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=order["directory"],
            process_group=0,
            # Its locks are released when the last process of the server has ended.
            pass_fds=locks,
            preexec_fn=prepare_death_signal(order["stop"][0][0]),  # noqa: PLW1509 (the guard has one thread)
            **account,
        )


def lock_directories(directories: list[str]) -> list[int]:
    """Take shared locks of the directories that have a lock."""
    locks = []
    for directory in directories:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(os.path.join(directory, "lock"), os.O_RDWR)  # noqa: PTH118 (starts faster)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            locks.append(descriptor)
    return locks


def prepare_death_signal(number: int) -> Callable[[], None] | None:
    """Return a function that makes Linux stop the server even if the guard is killed; None on other systems."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    guard = os.getpid()

    def set_death_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != guard:
            os._exit(1)

    return set_death_signal


def serve_starter(server: subprocess.Popen[bytes], wakeup: int) -> None:
    """Send the signals that the starter requests until the server or the starter ends, or a signal requests a stop."""
    starter = os.getppid()
    pending = b""
    while server.poll() is None:
        readable, _, _ = select.select([0, wakeup], [], [], PARENT_CHECK_SECONDS)
        if os.getppid() != starter:
            return
        if wakeup in readable and set(os.read(wakeup, 1024)) & set(TERMINATION_SIGNALS):
            return
        if 0 in readable:
            received = os.read(0, 1024)
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                print(send_asked_signal(server, line.decode()), flush=True)


def send_asked_signal(server: subprocess.Popen[bytes], line: str) -> str:
    """Send one signal to the server, or to its whole group.

    Shape: line is the signal's number, with ``group`` before it for the process group.
    Returns: ``sent``, or ``gone`` if the server has ended.
    """
    target, _, number = line.rpartition(" ")
    if server.poll() is not None:
        return "gone"
    if target == "group":
        os.killpg(server.pid, int(number))
    else:
        server.send_signal(int(number))
    return "sent"


def stop_server(server: subprocess.Popen[bytes], stop: list[tuple[int, float]]) -> None:
    """Stop the server, with the next harder signal after each waiting time, and SIGKILL at last."""
    for number, patience_seconds in stop:
        if server.poll() is not None:
            return
        server.send_signal(number)
        # A paused process handles no signal but SIGKILL until it continues.
        server.send_signal(signal.SIGCONT)
        give_up_at = time.monotonic() + patience_seconds
        while server.poll() is None and time.monotonic() < give_up_at:
            time.sleep(0.02)
    if server.poll() is None:
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(run_guarded(json.loads(sys.argv[1])) & 0xFF)
