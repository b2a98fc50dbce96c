"""Heartbeat of a consumer: one row for each consumer and process, in the participant's database."""

import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import Error

from ..clock import read_now
from ..models import EventConsumer
from . import catalogue
from .errors import BrokerAway
from .settings import get_event_settings

BEAT_SECONDS = 5.0
SEEN_WITHIN = timedelta(seconds=30)  # six heartbeats
KEEP = timedelta(days=1)  # rows of processes that died


def is_seen(consumer: str, *, instance: str = "", host: str = "") -> bool:
    """Return whether a consumer of this name, or else of this host, was seen lately.

    Raises: database errors.
    """
    alias = catalogue.database_of(consumer)
    rows = EventConsumer.objects.using(alias).filter(consumer=consumer, seen_at__gte=read_now(alias) - SEEN_WITHIN)
    return rows.filter(**({"name": instance} if instance else {"name__startswith": f"{host}:"})).exists()


class Heartbeat:
    """Row of one consumer of this process."""

    def __init__(self, consumer: str, alias: str, instance: str) -> None:
        self._consumer, self._alias, self._instance = consumer, alias, instance
        self._beat_at = float("-inf")
        self._has_handled = False
        self._has_row = False

    def beat(self, read_lag: Callable[[], int | None], *, handled: bool) -> None:
        """Write the row if the last time was long enough ago.

        Raises: BrokerAway; database errors.
        """
        self._has_handled |= handled
        if time.monotonic() - self._beat_at < BEAT_SECONDS:
            return
        lag = read_lag()
        now = read_now(self._alias)
        values: dict[str, Any] = {"seen_at": now, "lag": lag, "lag_at": now if lag is not None else None, "trouble": ""}
        if self._has_handled:
            values["handled_at"] = now
        self._write(values, now)
        self._has_handled = False

    def note_trouble(self, error: BaseException) -> None:
        """Write why the consumer waits, if its database is there."""
        try:
            now = read_now(self._alias)
            what = "broker" if isinstance(error, BrokerAway) else "database"
            self._write({"seen_at": now, "trouble": f"The {what} is away: {type(error).__name__}"}, now)
        except Error:
            pass

    def end(self) -> None:
        """Remove the row of a consumer that leaves."""
        if not self._has_row:
            return
        with contextlib.suppress(Error):
            EventConsumer.objects.using(self._alias).filter(consumer=self._consumer, name=self._instance).delete()
        self._has_row, self._beat_at = False, float("-inf")

    def _write(self, values: dict[str, Any], now: datetime) -> None:
        rows = EventConsumer.objects.using(self._alias)
        rows.update_or_create(
            consumer=self._consumer,
            name=self._instance,
            defaults=values,
            create_defaults={**values, "transport": get_event_settings().transport, "started_at": now},
        )
        if not self._has_row:
            rows.filter(consumer=self._consumer, seen_at__lt=now - KEEP).delete()
        self._has_row = True
        self._beat_at = time.monotonic()
