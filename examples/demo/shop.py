"""Processes of the shop for the demo: started in order and supervised."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from config.local.children import GuardedProcess, ServerDidNotStart, start_guarded, wait_until_ready
from config.local.postgres import start_lasting_postgres
from config.local.programs import manage_command, web_command, worker_command
from config.local.runtime import ROOT, VAR, make_private_directory, remove_runtime, write_runtime
from config.local.valkey import start_valkey
from sagas.events.settings import get_event_settings

from .client import ShopClient

DATABASE = "sagas"
URL_SETTINGS = (
    "DATABASE_URL", "PAYMENTS_DATABASE_URL", "INVENTORY_DATABASE_URL", "SHIPPING_DATABASE_URL", "CELERY_BROKER_URL",
)  # fmt: skip
# Passed on as they are given.
EVENT_SETTINGS = (
    "EVENTS_URL", "EVENTS_LAYOUT", "EVENTS_PREFIX", "EVENTS_BARE_TOPICS", "EVENTS_PARTICIPANTS",
    "EVENTS_FOREIGN_SENDS", "CHECKOUT_COORDINATION",
)  # fmt: skip

# Short, so that every end, even the one after all retries, is visible within a minute.
DEMO_ENGINE: Mapping[str, object] = {
    "TIMEOUT": 5,
    "LEASE_MARGIN": 5,
    "RETRY": {"attempts": 4, "base": 0.5, "cap": 4},
    "COMPENSATION_RETRY": {"attempts": 4, "base": 0.5, "cap": 4, "after_budget": 30},
    "POLL_AFTER": 2,
    "WAKEUP_INTERVAL": 2,
    "SWEEP_INTERVAL": 1,
}

# Parts of the printed line about the start.
_announced: list[str] = []

# A process that ends at once must not be started a hundred times a second.
RESTART_SECONDS = 2.0


@dataclass
class Supervised:
    """Process that is restarted whenever it ends.

    title: for messages. process: the running one. start: starts the next one. started_at: on the monotonic clock.
    """

    title: str
    process: GuardedProcess
    start: Callable[[], GuardedProcess]
    started_at: float = field(default_factory=time.monotonic)

    def ensure_running(self) -> None:
        """Restart the process if it has ended; if that fails, print the reason, and retry at a later call."""
        if self.process.is_running() or time.monotonic() < self.started_at + RESTART_SECONDS:
            return
        print(f"{self.title} has ended; restarting it.", flush=True)
        self.process.stop()
        self.started_at = time.monotonic()
        try:
            self.process = self.start()
        except ServerDidNotStart as error:
            print(error, flush=True)

    def stop(self) -> None:
        """Stop the current process."""
        self.process.stop()


@dataclass(frozen=True, kw_only=True)
class RunningShop:
    """Running shop.

    client: of its web server. servers: processes that cannot be restarted. supervised: those that can.
    """

    client: ShopClient
    servers: list[GuardedProcess]
    supervised: list[Supervised]

    def supervise(self) -> None:
        """Restart the processes that have ended.

        Raises: ServerDidNotStart if a server with data has ended.
        """
        for server in self.servers:
            if not server.is_running():
                raise ServerDidNotStart(f"{server.name} has ended. Its log {server.log} ends:\n{server.read_log_end()}")
        for supervised in self.supervised:
            supervised.ensure_running()


@contextmanager
def start_shop(port: int, secret_key: str) -> Iterator[RunningShop]:
    """Start the servers, prepare the data, start the other processes; stop them in reverse order at the end.

    Raises: ServerDidNotStart.
    """
    logs = make_private_directory(VAR / "log")
    with ExitStack() as stack:
        servers: list[GuardedProcess] = []
        supervised: list[Supervised] = []
        urls = start_servers(stack, servers, supervised, logs)
        environment = {**urls, **describe_demo(secret_key)}
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="config.settings")
        prepare_data(log=logs / "demo.log")
        write_runtime(environment)
        stack.callback(remove_runtime)
        worker = start_supervised(stack, "worker", worker_command("demo"), logs)
        web = start_supervised(stack, "web server", web_command(port), logs)
        supervised += [worker, web]
        parts = "web server and worker"
        if get_event_settings().are_on:
            supervised.append(start_supervised(stack, "consumer", manage_command("event_consume"), logs))
            parts = "web server, worker and consumer of events"
        shop = RunningShop(client=ShopClient(url=f"http://127.0.0.1:{port}"), servers=servers, supervised=supervised)
        announce(parts)
        wait_until_ready(web.process, lambda: answers(shop.client))
        print(".", flush=True)
        yield shop
        print("\nStopping.", flush=True)


def start_servers(
    stack: ExitStack, servers: list[GuardedProcess], supervised: list[Supervised], logs: Path
) -> dict[str, str]:
    """Start PostgreSQL and Valkey from the wheels, unless the environment names others.

    The database joins ``servers``, the broker, which may be restarted, joins ``supervised``.

    Returns: their URLs by the names of the settings.
    """
    urls = {name: os.environ[name] for name in URL_SETTINGS if os.environ.get(name)}
    if "DATABASE_URL" not in urls:
        announce("PostgreSQL")
        postgres = start_lasting_postgres(VAR / "postgres")
        stack.callback(postgres.process.stop)
        servers.append(postgres.process)
        urls["DATABASE_URL"] = postgres.create_database(DATABASE)
    else:
        print(
            "Using the database in DATABASE_URL; the demo creates users with known passwords in it.",
            flush=True,
        )
    if "CELERY_BROKER_URL" not in urls:
        announce("Valkey")
        broker, urls["CELERY_BROKER_URL"] = start_broker(logs, make_private_directory(VAR / "valkey"))
        stack.callback(broker.stop)
        supervised.append(broker)
    return urls


def start_broker(logs: Path, data: Path) -> tuple[Supervised, str]:
    """Start a Valkey that is restarted on its port if it ends; it keeps events in an append-only file.

    Returns: the supervised Valkey and its URL.
    """
    log, kept = logs / "valkey.log", {"appendonly": "yes", "dir": str(data)}
    log.unlink(missing_ok=True)
    valkey = start_valkey(log=log, settings=kept)

    def start() -> GuardedProcess:
        return start_valkey(valkey.port, log=log, settings=kept).process

    return Supervised("Valkey", valkey.process, start), valkey.url


def describe_demo(secret_key: str) -> dict[str, str]:
    """Return the environment variables of every process of the demo."""
    return {
        "SECRET_KEY": secret_key,
        "DEBUG": "off",
        "HTTPS_ONLY": "off",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "PAYMENT_GATEWAY": "sandbox",
        "EXTRA_APPS": "examples.engraving",
        "SAGAS": json.dumps(DEMO_ENGINE),
        **{name: os.environ[name] for name in EVENT_SETTINGS if name in os.environ},
    }


def prepare_data(*, log: Path | None = None) -> None:
    """Migrate every database and seed the shop; does nothing at a second start.

    log: file for this process's own log lines and warnings; without one they go to its output.
    """
    announce("tables and demo data")
    django.setup()
    if log is not None:
        write_log_to(log)
    for alias in settings.DATABASES:
        call_command("migrate", database=alias, interactive=False, verbosity=0)
    call_command("shop_seed", "--demo-data", verbosity=0)
    connections.close_all()


def write_log_to(log: Path) -> None:
    """Redirect log lines and warnings of this process to a file, because the terminal shows the demo's progress."""
    log.unlink(missing_ok=True)
    logging.captureWarnings(True)
    stream = os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)


def start_supervised(stack: ExitStack, name: str, command: list[str], logs: Path) -> Supervised:
    """Start a process that is restarted if it ends, and stopped at the end."""

    log = logs / f"{name.replace(' ', '-')}.log"
    log.unlink(missing_ok=True)

    def start() -> GuardedProcess:
        return start_guarded(name, command, log=log, directory=ROOT)

    supervised = Supervised(f"The {name}", start(), start)
    stack.callback(supervised.stop)
    return supervised


def answers(client: ShopClient) -> bool:
    """Return whether the web server works."""
    try:
        return client.request("GET", "/healthz").status == 200
    except OSError:
        return False


def announce(what: str) -> None:
    """Append a part that is being started to the printed line."""
    print(f"{', ' if _announced else 'Starting: '}{what}", end="", flush=True)
    _announced.append(what)
