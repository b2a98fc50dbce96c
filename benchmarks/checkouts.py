"""CPU time and commits of a choreographed checkout, beside an orchestrated one.

All orders of a style are placed, then run in this process until nothing moves: sagas by the sweep; events by relays,
consumers and the performing of intents. Nothing waits, so only work is counted. CPU time is that of this process and
of PostgreSQL, which must run on this machine; commits are PostgreSQL's own count, with those of reading transactions.
The broker is left out: it is the same for both, and takes little.
"""

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import override_settings

from inventory import services as inventory
from orders import services
from orders.models import Coordination, Product
from orders.requests import Address, CheckoutRequest, LineRequest
from sagas.core.states import SagaState
from sagas.events import catalogue, consumer, relay
from sagas.exceptions import BadRequest
from sagas.intents import performing
from sagas.models import Saga
from sagas.worker import sweeper

SKU, ON_HAND = "BENCHMARK", 1_000_000
ADDRESS = Address(name="Ada", line1="1 Tea Street", line2="", city="London", postal_code="N1 1AA", country="GB")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one checkout costs."""

    process: float
    """CPU seconds of this process."""
    server: float
    """CPU seconds of PostgreSQL."""
    commits: float
    """Committed transactions, also those that only read."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured; the cheapest round of each style by CPU time."""

    orchestrated: Cost
    choreographed: Cost


def measure(url: str, *, count: int, rounds: int) -> Figures:
    """Measure both styles in turn, after a first round that warms up."""
    customer, _ = User.objects.get_or_create(username="benchmark")
    Product.objects.get_or_create(sku=SKU, defaults={"name": SKU, "unit_price_minor": 1150, "currency": "EUR"})
    inventory.ensure_stock(SKU, ON_HAND)
    events = {
        "URL": url, "SOURCE": "/shop", "PREFIX": f"{uuid.uuid4()}.", "RELAY_ON_COMMIT": False,
        "SEND_TIMEOUT": timedelta(seconds=10),
    }  # fmt: skip
    with override_settings(SAGAS={**settings.SAGAS, "EVENTS": events, "WAKEUP": "none"}):
        pairs = [
            (
                _measure_style(customer, Coordination.ORCHESTRATION, _run_sagas, count),
                _measure_style(customer, Coordination.CHOREOGRAPHY, _run_events, count),
            )
            for _ in range(rounds + 1)
        ][1:]
        relay.close_transport()
    orchestrated, choreographed = (min(style, key=_total) for style in zip(*pairs, strict=True))
    return Figures(orchestrated=orchestrated, choreographed=choreographed)


def _measure_style(customer: User, style: Coordination, run: Callable[[], None], count: int) -> Cost:
    request = CheckoutRequest(
        lines=(LineRequest(sku=SKU, quantity=1),), payment_method="pm_card_visa", shipping_address=ADDRESS,
        coordination=style,
    )  # fmt: skip
    postmaster, commits_before = _find_postmaster(), _count_commits()
    process, server = time.process_time(), _read_server_seconds(postmaster)
    sagas = [services.place_order(customer=customer, request=request).saga_id for _ in range(count)]
    run()
    process, server = time.process_time() - process, _read_server_seconds(postmaster) - server
    commits = _count_commits() - commits_before
    completed = Saga.objects.filter(pk__in=sagas, state=SagaState.COMPLETED).count()
    if completed != count:
        raise RuntimeError(f"{completed} of {count} checkouts were completed ({style.value}).")
    return Cost(process=process / count, server=server / count, commits=commits / count)


def _run_sagas() -> None:
    while sweeper.run_due():
        pass


def _run_events() -> None:
    participants = catalogue.list_local_consumers()
    while True:
        moved = sum(relay.relay_all(alias) for alias in catalogue.event_databases())
        tallies = consumer.consume(participants, instance="benchmark", should_stop=lambda: False, once=True)
        moved += sum(tally.total for tally in tallies.values()) + performing.perform_due()
        if not moved:
            return


def _count_commits() -> int:
    """Return the commits in all databases of the shop; a server counts those of a session when it ends."""
    connections.close_all()
    total = 0
    for alias in catalogue.event_databases():
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            [found] = cursor.fetchone()
            total += found
    return total


def _find_postmaster() -> int:
    """Return the process that all server processes are children of.

    Raises: BadRequest when the server runs on another machine.
    """
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [backend] = cursor.fetchone()
    status = Path(f"/proc/{backend}/stat")
    if not status.exists() or "postgres" not in status.read_text():
        raise BadRequest("PostgreSQL must run on this machine: its CPU time is read from /proc.")
    return int(_read_status(backend)[1])


def _read_server_seconds(postmaster: int) -> float:
    """Return the CPU time of the server's processes, also of those that ended."""
    own = _read_status(postmaster)
    ticks = sum(map(int, own[11:15]))
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            found = _read_status(int(entry.parent.name))
        except FileNotFoundError:
            continue  # it ended meanwhile
        if int(found[1]) == postmaster:
            ticks += sum(map(int, found[11:13]))
    return ticks / TICKS


def _read_status(process: int) -> list[str]:
    """Return the fields of a process after its name: its state, its parent, and so on.

    Source: proc(5), ``/proc/pid/stat``.
    """
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()


def _total(cost: Cost) -> float:
    return cost.process + cost.server
