"""Consumer: reads a participant's topics, handles what arrives, and tries stored events again.

One thread for each participant. A delivery is acknowledged once its row is committed. While the database is away
nothing is acknowledged, counted or lost: the deliveries at hand are kept and handled when it is back.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections

from ..core.rare_warnings import RareWarnings
from ..core.survival import ends_process
from ..databases import is_away, is_conflict, refresh_connections
from ..exceptions import describe_error
from ..models import InboxState
from ..transactions import ConnectionAltered
from . import catalogue, heartbeat, inbox, transports
from .cloudevents import Incoming, Message, read_bare, read_message
from .declaration import EventType, find_type, list_types
from .errors import BrokerAway, EventRefused
from .handlers import Handler
from .inbox import Arrival, Result
from .settings import get_event_settings
from .transports.base import Consumer, Delivery

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
BATCH = 100
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
HEARTBEAT_SECONDS = 5.0


@dataclass(kw_only=True)
class Tally:
    """What a consumer has done, by result."""

    counts: dict[Result, int] = field(default_factory=dict)
    retried: int = 0

    def add(self, result: Result) -> None:
        """Count one delivery."""
        self.counts[result] = self.counts.get(result, 0) + 1

    @property
    def total(self) -> int:
        """Number of deliveries."""
        return sum(self.counts.values())


class ParticipantConsumer:
    """Loop of one participant in this process."""

    def __init__(self, consumer: str, *, instance: str, should_stop: Callable[[], bool]) -> None:
        """Set up the loop; nothing is opened yet."""
        self.consumer, self._instance, self._should_stop = consumer, instance, should_stop
        self.alias = catalogue.database_of(consumer)
        self.handlers: dict[str, Handler] = catalogue.handlers_of(consumer)
        self.tally = Tally()
        self._connection: Consumer | None = None
        self._kept: list[Delivery] = []
        self._warnings = RareWarnings(logger)
        self._pause = FIRST_PAUSE_SECONDS
        self._heartbeat = heartbeat.Heartbeat(consumer, self.alias, instance)

    def run(self, *, once: bool = False) -> None:
        """Consume until asked to stop, or ``once``: until nothing is left to read and nothing stored is due.

        Raises: BrokerAway and database errors with ``once``; the loop outlasts them.
        """
        try:
            while not self._should_stop():
                try:
                    is_idle = self._work(seconds=0.05 if once else POLL_SECONDS)
                    self._pause = FIRST_PAUSE_SECONDS
                except (BrokerAway, Error, ConnectionAltered, inbox.Busy) as error:
                    if once:
                        raise
                    self._rest(error)
                    continue
                if once and is_idle and self._is_finished():
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Leave the group and close this thread's connections."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._heartbeat.end()
        connections.close_all()

    def _work(self, *, seconds: float) -> bool:
        """Handle what is due, then what arrives; return whether there was nothing."""
        refresh_connections()
        if self._connection is None:
            topics = catalogue.subscription_of(self.consumer).topics
            self._connection = transports.make_transport().subscribe(self.consumer, topics, instance=self._instance)
        tried = 0
        if not self._kept:
            tried = inbox.handle_due(self.consumer, self.alias, self.handlers, should_stop=self._should_stop)
            self.tally.retried += tried
            self._kept = self._connection.poll(seconds=0.0 if tried else seconds, at_most=BATCH)
        count = len(self._kept)
        self._handle_kept()
        self._heartbeat.beat(self._connection.read_lag, handled=count + tried > 0)
        return count + tried == 0

    def _handle_kept(self) -> None:
        done: list[Delivery] = []
        try:
            while self._kept and not self._should_stop():
                self.tally.add(self.handle(self._kept[0]))
                done.append(self._kept.pop(0))
        finally:
            if done and self._connection is not None:
                self._connection.acknowledge(done)

    def handle(self, delivery: Delivery) -> Result:
        """Handle one delivery, or store why it is not run.

        Raises: what the loop waits for; whatever else fails here concerns this one message.
        """
        try:
            return self._try(delivery)
        except (BrokerAway, ConnectionAltered, inbox.Busy):
            raise
        except Exception as error:
            if ends_process(error) or is_away(error) or is_conflict(error):
                raise
            logger.exception("Event parked: the consumer failed on it.", extra={"topic": delivery.topic})
            return self._park(delivery, f"The consumer failed on it: {describe_error(error)}", None)

    def _try(self, delivery: Delivery) -> Result:
        try:
            event = self._read(delivery)
        except EventRefused as error:
            return self._park(delivery, str(error), None)
        try:
            handler = self.require_handler(event)
            if handler is None:
                return Result.IGNORED
            if delivery.deliveries > get_event_settings().deliveries_max:
                reason = (
                    f"It was delivered {delivery.deliveries} times without an answer: running it seems to kill the"
                    " process. It was not run again."
                )
                return self._park(delivery, reason, event, state=InboxState.DEAD)
            loaded = _load(handler, event)
        except EventRefused as error:
            return self._park(delivery, str(error), event)
        return inbox.handle(
            Arrival(
                consumer=self.consumer, alias=self.alias, event=event, loaded=loaded, handler=handler,
                topic=delivery.topic, position=delivery.position,
            )
        )  # fmt: skip

    def _read(self, delivery: Delivery) -> Incoming:
        """Return the event of a delivery.

        Raises: EventRefused when it cannot be read.
        """
        settings = get_event_settings()
        limit = 2 * settings.data_max_bytes  # with attributes in structured mode
        if "specversion" in delivery.message.attributes or delivery.topic not in settings.bare_topics:
            return read_message(delivery.message, max_bytes=limit)
        declared = _find_bare(delivery.topic)
        if declared is None:
            raise EventRefused(f"No event of the catalogue belongs to the bare topic {delivery.topic}.")
        sender = catalogue.sender_of(declared)
        return read_bare(
            delivery.message.data,
            message_id=delivery.message.attributes.get("message_id") or delivery.position,
            event_type=declared.name,
            key_field=declared.wire_key,
            source=f"{settings.source.rstrip('/')}/{sender}",
            max_bytes=limit,
        )

    def require_handler(self, event: Incoming) -> Handler | None:
        """Return this consumer's handler; None when it has none for a known event.

        Raises: EventRefused for an unknown event or version, and for a sender without authority.
        """
        declared = find_type(event.type)
        if declared is None:
            raise EventRefused(f"The catalogue has no event {event.type!r}. Declare it, or stop its sender.")
        if event.type not in self.handlers:
            return None
        if not declared.can_read(event.version):
            raise EventRefused(
                f"Major version {event.version} of {event.type} cannot be read; the code has {declared.version}."
                " Deploy the version that reads it, then replay the event."
            )
        sender = f"{get_event_settings().source.rstrip('/')}/{catalogue.sender_of(declared)}"
        if event.source != sender and not event.source.startswith(f"{sender}/"):
            raise EventRefused(
                f"No authority: {event.type} is sent by {sender} only, and this one says {event.source!r:.200}."
            )
        return self.handlers[event.type]

    def _park(
        self, delivery: Delivery, reason: str, event: Incoming | None, state: InboxState = InboxState.PARKED
    ) -> Result:
        return inbox.store_parked(
            self.consumer, self.alias, topic=delivery.topic, position=delivery.position, reason=reason,
            raw=_show(delivery.message), event=event, state=state,
        )  # fmt: skip

    def _is_finished(self) -> bool:
        lag = self._connection.read_lag() if self._connection is not None else None
        return not self._kept and not lag

    def _rest(self, error: BaseException) -> None:
        """Wait before the next try: the broker or the database is away."""
        self._warnings.warn(f"Consumer of {self.consumer} waits: {type(error).__name__}: {error}")
        if isinstance(error, BrokerAway) and self._connection is not None:
            self._connection.close()
            self._connection = None
            self._kept.clear()  # they come again: nothing of them is acknowledged
        self._heartbeat.note_trouble(error)
        end = time.monotonic() + self._pause
        while time.monotonic() < end and not self._should_stop():
            time.sleep(0.05)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)


def consume(
    participants: list[str], *, instance: str, should_stop: Callable[[], bool], once: bool = False
) -> dict[str, Tally]:
    """Run the consumers of participants, each in a thread, until asked to stop or ``once``: until nothing is left.

    With ``once`` they run one after the other, round by round, until none had anything to do: the events of one lead to
    events of another.
    Raises: what a consumer raises with ``once``.
    """
    consumers = [ParticipantConsumer(label, instance=instance, should_stop=should_stop) for label in participants]
    if once:
        _consume_once(consumers, should_stop)
    else:
        threads = [
            threading.Thread(target=_run_guarded, args=(one,), name=f"sagas-consumer-{one.consumer}")
            for one in consumers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {one.consumer: one.tally for one in consumers}


def _consume_once(consumers: list[ParticipantConsumer], should_stop: Callable[[], bool]) -> None:
    while not should_stop():
        before = [(one.tally.total, one.tally.retried) for one in consumers]
        for one in consumers:
            one.run(once=True)
        if before == [(one.tally.total, one.tally.retried) for one in consumers]:
            return


def _run_guarded(consumer: ParticipantConsumer) -> None:
    while True:
        try:
            consumer.run()
            return
        except BaseException as error:
            if ends_process(error):
                raise
            logger.exception("Consumer failed; it starts again.", extra={"consumer": consumer.consumer})
            time.sleep(FIRST_PAUSE_SECONDS)


def _load(handler: Handler, event: Incoming) -> Any:
    """Return the event as its handler takes it, once checked that it is ordered by what its data say.

    Raises: EventRefused.
    """
    declared = handler.event
    loaded = declared.load(event.data, event.version)
    if not declared.key:
        return loaded
    if not event.key:
        raise EventRefused(f"{event.type} has no partition key, but its events are ordered by {declared.wire_key}.")
    if event.key != declared.key_of(loaded):
        raise EventRefused(
            f"The partition key of {event.type} is {event.key!r:.80}, but {declared.wire_key} in its data is"
            f" {declared.key_of(loaded)!r:.80}."
        )
    return loaded


def _show(message: Message) -> bytes:
    """Return a message as an operator reads it: its attributes, a blank line, its data."""
    lines = [f"{name}: {value}\n" for name, value in message.attributes.items()]
    return "".join([*lines, "\n" * bool(lines)]).encode(errors="replace") + message.data


def _find_bare(topic: str) -> EventType | None:
    found = [declared for declared in list_types() if catalogue.topic_of(declared) == topic]
    return found[0] if len(found) == 1 else None
