"""Private RabbitMQ from the system's package, for ``make test-brokers`` only."""

import os
import shutil
import signal
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from config.local.children import GuardedProcess, ServerDidNotStart, start_guarded, wait_until_ready
from config.local.valkey import find_free_port

# Not the wrapper in /usr/sbin, which switches to the system server's account.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@dataclass(frozen=True, kw_only=True)
class LocalRabbit:
    """Running private server.

    process: to stop or harm it. names: Erlang's name server, which it needs. port: on 127.0.0.1.
    """

    process: GuardedProcess
    names: GuardedProcess
    port: int

    @property
    def url(self) -> str:
        """Return the URL for CELERY_BROKER_URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def stop(self) -> None:
        """Stop both processes."""
        self.process.stop()
        self.names.stop()


def start_rabbitmq(port: int | None = None) -> LocalRabbit:
    """Start a server on a port, by default on a free one, that stores nothing on disk.

    Raises: ServerDidNotStart when the package is not installed, or with the end of the server's log.
    """
    names_program = shutil.which("epmd")
    if not PROGRAM.exists() or names_program is None:
        raise ServerDidNotStart("RabbitMQ is not installed here. On Debian: apt-get install rabbitmq-server")
    home = Path(tempfile.mkdtemp(prefix="sagas-"))
    port, names_port = port or find_free_port(), find_free_port()
    environment = describe_server(home, port, names_port)
    names = start_guarded(
        "epmd",
        [names_program, "-port", str(names_port), "-address", "127.0.0.1"],
        log=home / "epmd.log",
        environment=environment,
    )
    wait_until_ready(names, lambda: listens(names_port))
    process = start_guarded(
        "RabbitMQ",
        [PROGRAM],
        log=home / "rabbitmq.log",
        environment=environment,
        stop=((signal.SIGTERM, 20.0),),
        remove=[home],
    )
    wait_until_ready(process, lambda: speaks_amqp(port), timeout_seconds=90)
    return LocalRabbit(process=process, names=names, port=port)


def describe_server(home: Path, port: int, names_port: int) -> dict[str, str]:
    """Point everything that the server writes or listens on to this run."""
    configuration = home / "rabbitmq.conf"
    configuration.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.file = false\n")
    plugins = home / "enabled_plugins"
    plugins.write_text("[].\n")
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(names_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"sagas{port}@localhost",
        "RABBITMQ_DIST_PORT": str(find_free_port()),
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
    }


def listens(port: int) -> bool:
    """Return whether a process accepts connections on this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def speaks_amqp(port: int) -> bool:
    """Return whether the server accepts AMQP 0-9-1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"
    except OSError:
        return False
