"""Private PostgreSQL that can be stopped, killed and restarted on the same data."""

import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import psutil
import psycopg

from config.local.children import ServerDidNotStart
from config.local.postgres import (
    SHORT_DIRECTORY,
    STOP_AT_ONCE,
    THROWAWAY_SETTINGS,
    LocalPostgres,
    choose_account,
    close_home,
    create_home,
    start_postgres,
)

# After a SIGKILL the old server's children end one by one, and a new server cannot start before.
START_PATIENCE_SECONDS = 60.0
STOP_PATIENCE_SECONDS = 30.0


class Stop(Enum):
    """Ways to stop a server."""

    FAST = signal.SIGINT  #: connections are cut, then a checkpoint
    IMMEDIATE = signal.SIGQUIT  #: as after a power cut, but every process is signalled
    KILLED = signal.SIGKILL  #: no process is signalled


class RestartablePostgres:
    """Private server with a fixed address across restarts."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._account = choose_account()
        self._settings = {**THROWAWAY_SETTINGS, **settings}
        self.home = create_home(SHORT_DIRECTORY, self._account)
        self.server = self._start_once()

    def url_of(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return self.server.url_of(database)

    @property
    def socket(self) -> Path:
        """Return its socket directory."""
        return self.server.socket_directory / ".s.PGSQL.5432"

    def stop(self, how: Stop) -> None:
        """Stop it, and wait until it has ended."""
        if not self.server.process.send(how.value):
            raise ServerDidNotStart("PostgreSQL had ended by itself.")
        self.server.process.wait(STOP_PATIENCE_SECONDS)

    def start(self) -> None:
        """Restart it after a stop, and wait until it answers."""
        self.server.process.stop()
        give_up_at = time.monotonic() + START_PATIENCE_SECONDS
        while True:
            try:
                self.server = self._start_once()
            except ServerDidNotStart:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.1)
            else:
                return

    def restart(self, how: Stop, *, away_seconds: float = 0.0) -> None:
        """Stop it, and start it again after a while."""
        self.stop(how)
        time.sleep(away_seconds)
        self.start()

    def kill_backend(self, pid: int) -> None:
        """Kill one of its own sessions with SIGKILL, which makes the server restart entirely.

        Raises: ProcessLookupError if the process is not this server's.
        """
        for child in psutil.Process(self.server.process.pid).children():
            if child.pid == pid:
                child.kill()
                return
        raise ProcessLookupError(f"Process {pid} is no session of this server; nothing was killed.")

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run a statement as its superuser, even while the server is read only."""
        url = f"{self.url_of(database)}&options=-c%20default_transaction_read_only%3Doff"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)

    def destroy(self) -> None:
        """Stop it at once, and delete its data."""
        self.server.process.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _start_once(self) -> LocalPostgres:
        # The guard deletes the socket's directory when the server ends; its name must stay the same.
        run = self.home / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        close_home(run, self._account)
        return start_postgres(self.home, run, self._account, settings=self._settings, stop=STOP_AT_ONCE)


@contextmanager
def open_postgres(**settings: str) -> Iterator[RestartablePostgres]:
    """Run a server for as long as the block lasts."""
    server = RestartablePostgres(settings)
    try:
        yield server
    finally:
        server.destroy()
