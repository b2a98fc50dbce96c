"""Private PgBouncer from the system's package, in transaction mode, for ``make test-brokers`` only."""

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from config.local.children import GuardedProcess, ServerDidNotStart, start_guarded, wait_until_ready
from config.local.postgres import SHORT_DIRECTORY, choose_account, create_home, create_owned
from config.local.valkey import find_free_port

PLACES = f"{os.defpath}:/usr/sbin:/usr/local/sbin"

# So few connections that every client gets one that another has used.
CONFIGURATION = """
[databases]
* = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
"""


@dataclass(frozen=True, kw_only=True)
class LocalPgBouncer:
    """Running private PgBouncer.

    process: to stop it. port: on 127.0.0.1.
    """

    process: GuardedProcess
    port: int

    def settings_through(self, parameters: Mapping[str, str]) -> dict[str, str]:
        """Return the Django settings of a database behind it."""
        return {**parameters, "HOST": "127.0.0.1", "PORT": str(self.port)}


def start_pgbouncer(parameters: Mapping[str, str]) -> LocalPgBouncer:
    """Start one before a server, which Django's parameters of one of its databases describe.

    Raises: ServerDidNotStart when the package is not installed, or with the end of its log.
    """
    program = shutil.which("pgbouncer", path=PLACES)
    if program is None:
        raise ServerDidNotStart("PgBouncer is not installed here. On Debian: apt-get install pgbouncer")
    # Like PostgreSQL it does not run as root, and it must reach PostgreSQL's socket.
    account = choose_account()
    home = create_home(SHORT_DIRECTORY, account)
    own = create_owned(home / "pgbouncer", account)
    port = find_free_port()
    configuration = own / "pgbouncer.ini"
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    server = " ".join(f"{names[name]}={value}" for name, value in parameters.items() if name in names and value)
    configuration.write_text(CONFIGURATION.format(server=server, port=port))
    if account:
        os.chown(configuration, account.uid, account.gid)
    process = start_guarded(
        "PgBouncer",
        [program, configuration],
        log=home / "pgbouncer.log",
        directory=Path("/"),
        account=account,
        stop=((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0)),
        remove=[home],
    )
    bouncer = LocalPgBouncer(process=process, port=port)
    wait_until_ready(process, lambda: answers(bouncer.settings_through(parameters)))
    return bouncer


def answers(parameters: Mapping[str, str]) -> bool:
    """Return whether a database can be reached through it."""
    try:
        psycopg.connect(
            host=parameters["HOST"], port=parameters["PORT"], user=parameters["USER"], dbname=parameters["NAME"],
            connect_timeout=3,
        ).close()  # fmt: skip
    except psycopg.OperationalError:
        return False
    return True
