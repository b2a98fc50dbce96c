"""Transport over Redis Streams: commands of Redis 7 and Valkey only, by the ``redis`` package.

A topic is a stream, a consumer is a group that begins at 0, so nothing is missed by one that is created late. One field
per CloudEvents attribute, and ``data``. Streams are trimmed only below what every group has acknowledged.

Options: ``claim_idle_ms`` (30,000: unacknowledged longer than this, a message goes to another process),
``keep_seconds`` (604,800: a group that vanished or hangs keeps messages no longer than this), and all options of
``redis.Redis``.

Source: Redis documentation, "Streams"; XAUTOCLAIM; XINFO GROUPS (lag).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis
from redis import exceptions

from ..cloudevents import Message
from ..errors import BrokerAway, SendRefused
from ..settings import EventSettings
from .base import Consumer, Delivery, Finding, Outgoing, Transport

logger = logging.getLogger(__name__)

DATA = b"data"
OWN_OPTIONS = {"claim_idle_ms": 30_000, "keep_seconds": 604_800}
CLAIM_EVERY_SECONDS = 5.0
# Answers of a server that cannot store now, whatever the message is.
AWAY_PREFIXES = (
    "OOM",
    "LOADING",
    "READONLY",
    "MISCONF",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "BUSY ",
)


def make_transport(settings: EventSettings) -> Transport:
    """Return a connection to a Redis or Valkey server."""
    return RedisTransport(settings)


class RedisTransport:
    """Connection to a Redis or Valkey server."""

    def __init__(self, settings: EventSettings) -> None:
        self._settings = settings
        self._own = {name: settings.options.get(name, default) for name, default in OWN_OPTIONS.items()}
        self._client = _connect(settings)

    def send(self, messages: Sequence[Outgoing]) -> list[SendRefused | None]:
        """Append messages to their streams; the server's answer is its confirmation."""
        pipeline = self._client.pipeline(transaction=False)
        for outgoing in messages:
            fields: dict[Any, Any] = {**outgoing.message.attributes, DATA: outgoing.message.data}
            pipeline.xadd(self._name(outgoing.topic), fields)
        with _translated():
            answers = pipeline.execute(raise_on_error=False)
        return [_judge(answer) for answer in answers]

    def declare(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """Create missing groups, and with them their streams."""
        made = []
        with _translated():
            for consumer, wanted in subscriptions:
                made += [
                    f"Group {consumer} of {self._name(topic)} created."
                    for topic in wanted
                    if create_group(self._client, self._name(topic), consumer)
                ]
        return made

    def check(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> list[Finding]:
        """Report missing groups, lost messages, and a server that keeps nothing on disk."""
        found = []
        with _translated():
            if (reason := self._find_volatility()) is not None:
                found.append(reason)
            for consumer, wanted in subscriptions:
                for topic in wanted:
                    found += self._check_group(consumer, topic)
        return found

    def trim(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> int:
        """Trim each stream below what all its groups have acknowledged, or below its age bound."""
        groups: dict[str, list[str]] = {topic: [] for topic in topics}
        for consumer, wanted in subscriptions:
            for topic in wanted:
                groups.setdefault(topic, []).append(consumer)
        with _translated():
            return sum(self._trim_stream(self._name(topic), wanted) for topic, wanted in groups.items() if wanted)

    def subscribe(self, consumer: str, topics: Sequence[str], *, instance: str) -> Consumer:
        """Return a reader that joins the consumer's group on each stream."""
        names = {self._name(topic): topic for topic in topics}
        reader = _RedisConsumer(_connect(self._settings), consumer, names, instance, int(self._own["claim_idle_ms"]))
        with _translated():
            reader.join()
        return reader

    def close(self) -> None:
        """Close the connection."""
        with suppress(exceptions.RedisError, OSError):
            self._client.close()

    def _name(self, topic: str) -> str:
        return self._settings.prefix + topic

    def _find_volatility(self) -> Finding | None:
        """Return a warning if the server loses everything at a restart; None also if it does not say."""
        try:
            found = self._client.config_get("appendonly", "save")
        except exceptions.ResponseError:
            return None  # managed servers forbid CONFIG
        if found.get("appendonly") == "yes":
            return None
        return Finding(
            what="The Redis server keeps no append-only file (appendonly no): a restart loses events.",
            todo="Set appendonly yes; until then the reconciliation sends again what consumers of yours miss.",
            is_error=False,
        )

    def _check_group(self, consumer: str, topic: str) -> list[Finding]:
        name = self._name(topic)
        group = next((one for one in _list_groups(self._client, name) if one["name"] == consumer), None)
        if group is None:
            return [
                Finding(what=f"Group {consumer} of stream {name} does not exist.", todo="Run event_topics --create.")
            ]
        info = self._client.xinfo_stream(name)
        added, read = info.get("entries-added"), group.get("entries-read")
        if added is None or read is None:
            return []
        lost = added - info["length"] - read
        if lost <= 0:
            return []
        return [
            Finding(
                what=f"Stream {name} was trimmed by {lost} messages that {consumer} had not read.",
                todo="Let nothing else trim it; the reconciliation sends again what is missing.",
            )
        ]

    def _trim_stream(self, name: str, groups: Sequence[str]) -> int:
        known = {one["name"]: one for one in _list_groups(self._client, name)}
        oldest = min((self._first_needed(name, known.get(group)) for group in {*groups, *known}), default=(0, 0))
        bound = (int(time.time() * 1000) - int(self._own["keep_seconds"]) * 1000, 0)
        if oldest < bound:
            logger.warning("Stream trimmed by age: a group has not acknowledged its messages.", extra={"stream": name})
        least = max(oldest, bound)
        if least <= (0, 0):
            return 0
        return int(self._client.xtrim(name, minid=f"{least[0]}-{least[1]}", approximate=True))

    def _first_needed(self, name: str, group: dict[str, Any] | None) -> tuple[int, int]:
        """Return the first entry that a group still needs; all of them for a group that does not exist."""
        if group is None:
            return (0, 0)
        if group["pending"]:
            return _parse_id(self._client.xpending(name, group["name"])["min"])
        milliseconds, number = _parse_id(group["last-delivered-id"])
        return (milliseconds, number + 1)


class _RedisConsumer:
    """Reader of one group; its name in the group is that of this process."""

    def __init__(self, client: Any, group: str, topics: dict[str, str], instance: str, claim_idle_ms: int) -> None:
        self._client, self._group, self._topics, self._instance = client, group, topics, instance
        self._claim_idle_ms = claim_idle_ms
        self._claim_at = 0.0
        self._cursors = dict.fromkeys(topics, "0-0")

    def join(self) -> None:
        """Create the group on every stream, from the beginning."""
        for name in self._topics:
            create_group(self._client, name, self._group)

    def poll(self, *, seconds: float, at_most: int) -> list[Delivery]:
        """Take over what a dead process left, else wait for what is new."""
        with _translated():
            if time.monotonic() >= self._claim_at:
                if claimed := self._rejoining(self._claim):
                    return claimed
                self._claim_at = time.monotonic() + min(CLAIM_EVERY_SECONDS, self._claim_idle_ms / 1000)
            return self._rejoining(lambda: self._read(seconds, at_most))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; what fails comes again as a duplicate."""
        by_stream: dict[str, list[Any]] = {}
        for delivery in deliveries:
            name, entry = cast("tuple[str, bytes]", delivery.handle)
            by_stream.setdefault(name, []).append(entry)
        try:
            pipeline = self._client.pipeline(transaction=False)
            for name, entries in by_stream.items():
                pipeline.xack(name, self._group, *entries)
            pipeline.execute(raise_on_error=False)
        except (exceptions.RedisError, OSError):
            logger.warning("Events not acknowledged; they come again as duplicates.", extra={"consumer": self._group})

    def read_lag(self) -> int | None:
        """Return the sum of unread and unacknowledged messages over all streams."""
        total = 0
        with _translated():
            for name in self._topics:
                group = next((one for one in _list_groups(self._client, name) if one["name"] == self._group), None)
                if group is None or group.get("lag") is None:
                    return None
                total += group["lag"] + group["pending"]
        return total

    def close(self) -> None:
        """Leave the group if nothing is unacknowledged: deleting a consumer would lose its pending entries."""
        with suppress(exceptions.RedisError, OSError):
            for name in self._topics:
                pending = self._client.xpending_range(name, self._group, "-", "+", 1, consumername=self._instance)
                if not pending:
                    self._client.xgroup_delconsumer(name, self._group, self._instance)
        with suppress(exceptions.RedisError, OSError):
            self._client.close()

    def _rejoining(self, read: Callable[[], list[Delivery]]) -> list[Delivery]:
        """Read; create groups again that a flushed server has lost."""
        try:
            return read()
        except exceptions.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            logger.warning("Groups lost by the Redis server; created again.", extra={"consumer": self._group})
            self.join()
            return []

    def _read(self, seconds: float, at_most: int) -> list[Delivery]:
        found = self._client.xreadgroup(
            self._group,
            self._instance,
            dict.fromkeys(self._topics, ">"),
            count=at_most,
            block=max(1, int(seconds * 1000)),
        )
        return [
            self._deliver(name.decode(), entry, fields, 1) for name, entries in found or [] for entry, fields in entries
        ]

    def _claim(self) -> list[Delivery]:
        """Take over one message: claimed together, all would count as delivered when one of them kills the process."""
        for name in self._topics:
            cursor, entries, *_ = self._client.xautoclaim(
                name,
                self._group,
                self._instance,
                min_idle_time=self._claim_idle_ms,
                start_id=self._cursors[name],
                count=1,
            )
            self._cursors[name] = cursor
            for entry, fields in entries:
                if fields:
                    return [self._deliver(name, entry, fields, self._count_deliveries(name, entry))]
                self._client.xack(name, self._group, entry)  # trimmed meanwhile: a gap
        return []

    def _count_deliveries(self, name: str, entry: bytes) -> int:
        [found] = self._client.xpending_range(name, self._group, entry, entry, 1) or [None]
        return int(found["times_delivered"]) if found else 1

    def _deliver(self, name: str, entry: bytes, fields: dict[bytes, bytes], deliveries: int) -> Delivery:
        attributes = {
            key.decode(errors="replace"): value.decode(errors="replace") for key, value in fields.items() if key != DATA
        }
        return Delivery(
            topic=self._topics[name],
            position=entry.decode(),
            message=Message(attributes=attributes, data=fields.get(DATA, b"")),
            deliveries=deliveries,
            handle=(name, entry),
        )


def create_group(client: Any, name: str, group: str) -> bool:
    """Create a group at the beginning of a stream, which is created, too.

    Returns: whether it is new.
    """
    try:
        client.xgroup_create(name, group, id="0", mkstream=True)
    except exceptions.ResponseError as error:
        if str(error).startswith("BUSYGROUP"):
            return False
        raise
    return True


def _connect(settings: EventSettings) -> Any:
    options = {name: value for name, value in settings.options.items() if name not in OWN_OPTIONS}
    timeout = settings.send_timeout.total_seconds()
    return redis.Redis.from_url(
        settings.url, **{"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": None, **options}
    )


def _list_groups(client: Any, name: str) -> list[dict[str, Any]]:
    """Return the groups of a stream, with their names as text; none for a stream that does not exist."""
    try:
        return [{**one, "name": one["name"].decode()} for one in client.xinfo_groups(name)]
    except exceptions.ResponseError as error:
        if "no such key" in str(error):
            return []
        raise


def _judge(answer: object) -> SendRefused | None:
    """Return why the server refuses a message; None once it is stored.

    Raises: BrokerAway when it can store no message now.
    """
    if not isinstance(answer, Exception):
        return None
    if isinstance(answer, exceptions.ResponseError) and not _means_away(answer):
        return SendRefused(f"The Redis server refused the message: {answer}")
    raise BrokerAway(f"The Redis server cannot store now: {answer}") from answer


def _means_away(error: exceptions.ResponseError) -> bool:
    if isinstance(error, exceptions.OutOfMemoryError | exceptions.ReadOnlyError | exceptions.BusyLoadingError):
        return True
    return str(error).startswith(AWAY_PREFIXES)


@contextmanager
def _translated() -> Iterator[None]:
    """Raise BrokerAway for errors of the connection or of the server."""
    try:
        yield
    except exceptions.ResponseError as error:
        if str(error).startswith("NOGROUP"):
            raise
        raise BrokerAway(f"The Redis server refused a command: {error}") from error
    except (exceptions.RedisError, OSError) as error:
        raise BrokerAway(f"The Redis server does not answer: {type(error).__name__}: {error}") from error


def _parse_id(entry: Any) -> tuple[int, int]:
    milliseconds, _, number = (entry.decode() if isinstance(entry, bytes) else str(entry)).partition("-")
    return int(milliseconds), int(number or 0)
