"""Supervision of events: relays, reconciliation, trimming of topics and alerts, for workers and ``outbox_relay``.

Each database is relayed by a thread of its own, so that one that is away does not stop the others. One more thread
reconciles, trims and finds troubles; a database that failed is left out for a while.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from django.db import Error, connections

from ..alerts import EventAlert
from ..core.rare_warnings import RareWarnings
from ..databases import refresh_connections
from . import catalogue, relay, troubles
from .errors import BrokerAway
from .overview import read_overview
from .reconciliation import Reconciliation
from .settings import get_event_settings

logger = logging.getLogger(__name__)

KEEP_SECONDS = 10.0
TRIM_SECONDS = 60.0
REST_SECONDS = 30.0  # how long a database that failed is left out of reconciliation and alerts
DECLARE_SECONDS = 2.0
POLL_SECONDS = 0.1

Stop = Callable[[], bool]
Announce = Callable[[Sequence[EventAlert]], None]


def declare_catalogue(*, should_stop: Stop) -> bool:
    """Declare all topics, and the groups or queues of the consumers that run here; wait for a broker that is away.

    Returns: whether it is done; False when asked to stop before.
    """
    warnings = RareWarnings(logger)
    while not should_stop():
        try:
            relay.find_transport().declare(catalogue.list_topics(), as_pairs(catalogue.list_subscriptions()))
            return True
        except BrokerAway as error:
            warnings.warn(f"Topics not declared: {error}. It is tried again.")
            relay.close_transport()
        _wait(DECLARE_SECONDS, should_stop)
    return False


def as_pairs(subscriptions: Sequence[catalogue.Subscription]) -> list[tuple[str, Sequence[str]]]:
    """Return subscriptions as transports take them."""
    return [(one.consumer, one.topics) for one in subscriptions]


def supervise_all(*, should_stop: Stop, announce: Announce) -> None:
    """Declare the catalogue, then supervise the databases of all senders that run here. Raises nothing.

    Does nothing while events are off, or none is declared.

    Tx: must not be inside one.
    """
    try:
        if not get_event_settings().are_on:
            return
        aliases = list(dict.fromkeys(map(catalogue.database_of, catalogue.list_local_senders())))
        if aliases and declare_catalogue(should_stop=should_stop):
            relay.close_transport()
            supervise(aliases, should_stop=should_stop, announce=announce)
    except Exception:
        logger.exception("Events are not relayed by this process.")


def supervise(aliases: Sequence[str], *, should_stop: Stop, announce: Announce) -> dict[str, int]:
    """Relay databases, reconcile and raise alerts until asked to stop.

    Returns: how many events each database's relay sent.
    Tx: must not be inside one.
    """
    sent = dict.fromkeys(aliases, 0)
    threads = [
        threading.Thread(target=_relay_for_ever, args=(alias, sent, should_stop), name=f"sagas-relay-{alias}")
        for alias in aliases
    ]
    keeper = Keeper(aliases, announce)
    threads.append(threading.Thread(target=_keep_for_ever, args=(keeper, should_stop), name="sagas-event-keeper"))
    for thread in threads:
        thread.daemon = True
        thread.start()
    for thread in threads:
        thread.join()
    return sent


class Keeper:
    """Work beside the relays: reconciliation, trimming, alerts."""

    def __init__(self, aliases: Sequence[str], announce: Announce) -> None:
        """Set up; nothing is opened yet."""
        self._announce = announce
        self.reconciliations = {alias: Reconciliation(alias=alias) for alias in aliases}
        self._started_at = time.monotonic()
        self._trim_at = 0.0
        self._rests: dict[str, float] = {}

    def run(self, *, should_stop: Stop = lambda: False) -> None:
        """Reconcile each database and raise its alerts, then trim the topics now and then. Errors are logged."""
        for alias, reconciliation in self.reconciliations.items():
            if should_stop() or time.monotonic() < self._rests.get(alias, 0.0):
                continue
            try:
                refresh_connections()
                reconciliation.run(should_stop=should_stop)
                self._raise_troubles(alias)
            except Error as error:
                self._rests[alias] = time.monotonic() + REST_SECONDS
                logger.warning("Events not reconciled.", extra={"database": alias, "error": str(error)})
                connections[alias].close()
        if not should_stop() and time.monotonic() >= self._trim_at:
            self._trim_at = time.monotonic() + TRIM_SECONDS
            trim_topics()

    def _raise_troubles(self, alias: str) -> None:
        running_for = timedelta(seconds=time.monotonic() - self._started_at)
        self._announce(troubles.raise_troubles(read_overview(alias), running_for=running_for))


def trim_topics() -> int:
    """Delete what every consumer of the catalogue has acknowledged, also those that run elsewhere.

    Returns: how many messages; 0 while the broker is away.
    """
    everyone = [catalogue.subscription_of(label) for label in catalogue.list_consumers()]
    try:
        return relay.find_transport().trim(catalogue.list_topics(), as_pairs(everyone))
    except BrokerAway as error:
        logger.warning("Topics not trimmed.", extra={"error": str(error)})
        relay.close_transport()
        return 0


def _relay_for_ever(alias: str, sent: dict[str, int], should_stop: Stop) -> None:
    warnings = RareWarnings(logger)
    try:
        while not should_stop():
            try:
                refresh_connections()
                sent[alias] += relay.relay_all(alias, should_stop=should_stop)
            except BrokerAway as error:
                warnings.warn(f"Events of {alias} not sent: {error}. They are sent when the broker is back.")
                relay.close_transport()
            except Error as error:
                warnings.warn(f"Events of {alias} not sent: {type(error).__name__}: {error}")
                connections.close_all()
            except Exception:
                logger.exception("Relay failed; trying again.", extra={"database": alias})
                relay.close_transport()
                connections.close_all()
            _wait(get_event_settings().relay_interval.total_seconds(), should_stop)
    finally:
        relay.close_transport()
        connections.close_all()


def _keep_for_ever(keeper: Keeper, should_stop: Stop) -> None:
    try:
        while not should_stop():
            try:
                keeper.run(should_stop=should_stop)
            except Exception:
                logger.exception("Supervision of events failed; trying again.")
                connections.close_all()
            _wait(KEEP_SECONDS, should_stop)
    finally:
        relay.close_transport()
        connections.close_all()


def _wait(seconds: float, should_stop: Stop) -> None:
    end = time.monotonic() + seconds
    while not should_stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(POLL_SECONDS, left))
