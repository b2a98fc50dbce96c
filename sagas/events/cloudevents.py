"""CloudEvents 1.0: an event of the outbox as a message, and a message as an event of the inbox.

Attributes are checked by the ``cloudevents`` package (extra ``events``). Data are read by ``core.json_values``, because
a message comes from outside: its size and depth are limited before anything walks it.

Source: CloudEvents 1.0.2; its extensions *sequence*, *partitioning*, *recordedtime* and *distributed tracing*.
"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from ..core.json_values import parse_json
from ..exceptions import InputRefused
from ..models import OutboxEvent
from ..models import events as columns
from .errors import EventRefused

JSON_TYPE = "application/json"
STRUCTURED_TYPE = "application/cloudevents+json"
SEQUENCE_DIGITS = 20  # so that sequences compare as texts, too
MAX_ATTRIBUTE_CHARS = 4_000
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Message:
    """CloudEvents attributes, and the data as JSON."""

    attributes: Mapping[str, str]
    data: bytes

    @property
    def key(self) -> str:
        """Partition key; empty for unordered events."""
        return self.attributes.get("partitionkey", "")


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """Event as it was read from a message."""

    id: str
    source: str
    type: str
    version: int
    key: str
    sequence: str
    correlation_id: str
    causation_id: str
    traceparent: str
    recorded_at: datetime | None
    data: dict[str, Any]
    digest: str
    """SHA-256 of type, version and data."""
    is_bare: bool = False
    """Whether it is plain JSON without attributes, of a foreign service."""


def has_package() -> bool:
    """Return whether the package of CloudEvents is installed, which is an extra."""
    return importlib.util.find_spec("cloudevents") is not None


def make_source(prefix: str, participant: str, key: str) -> str:
    """Return the source of a participant's events of one key: ``/shop/payments/ORD-1``."""
    place = f"{prefix.rstrip('/')}/{participant}"
    return f"{place}/{quote(key, safe='')}" if key else place


def to_message(row: OutboxEvent) -> Message:
    """Return a row of the outbox as a message in binary mode."""
    attributes = {
        "specversion": "1.0",
        "id": str(row.event_id),
        "source": row.source,
        "type": row.type,
        "subject": row.key,
        "time": _write_time(row.recorded_at),
        "datacontenttype": JSON_TYPE,
        "schemaversion": str(row.version),
        "sequence": "" if row.sequence is None else f"{row.sequence:0{SEQUENCE_DIGITS}d}",
        "partitionkey": row.key,
        "correlationid": row.correlation_id,
        "causationid": row.causation_id,
        "recordedtime": _write_time(row.recorded_at),
        "traceparent": row.traceparent,
    }
    data = json.dumps(row.data, ensure_ascii=False, separators=(",", ":"))
    return Message(attributes={name: value for name, value in attributes.items() if value}, data=data.encode())


def read_message(message: Message, *, max_bytes: int) -> Incoming:
    """Return the event of a message in binary or structured mode.

    Raises: EventRefused, which names what cannot be read.
    """
    attributes, data = dict(message.attributes), _read_json(message.data, max_bytes)
    if attributes.get("datacontenttype", "").partition(";")[0].strip() == STRUCTURED_TYPE:
        attributes, data = _split_structured(data)
    event = _check_attributes(attributes)
    if not isinstance(data, dict):
        raise EventRefused(f"The data of {event['type']} must be a JSON object, not {_name_type(data)}.")
    version = _read_version(event)
    return Incoming(
        id=event["id"],
        source=event["source"],
        type=event["type"],
        version=version,
        key=event.get("partitionkey") or event.get("subject", ""),
        sequence=event.get("sequence", "")[:40],
        correlation_id=event.get("correlationid", ""),
        causation_id=event.get("causationid", ""),
        traceparent=event.get("traceparent", "")[:64],
        recorded_at=_read_time(event.get("recordedtime") or event.get("time", "")),
        data=data,
        digest=digest_of(event["type"], version, data),
    )


def read_bare(
    body: bytes, *, message_id: str, event_type: str, key_field: str, source: str, max_bytes: int
) -> Incoming:
    """Return plain JSON of a foreign service as an event: its type is the topic's, its key is the key field.

    Raises: EventRefused.
    """
    data = _read_json(body, max_bytes)
    if not isinstance(data, dict):
        raise EventRefused(f"A message of {event_type} must be a JSON object, not {_name_type(data)}.")
    key = data.get(key_field, "") if key_field else ""
    if key_field and (not isinstance(key, str | int) or isinstance(key, bool) or key == ""):
        raise EventRefused(f"A message of {event_type} needs its key field {key_field!r} as a text or a whole number.")
    if len(str(key)) > columns.MAX_KEY_CHARS:
        raise EventRefused(f"The key {key_field!r} of {event_type} has more than {columns.MAX_KEY_CHARS} characters.")
    return Incoming(
        id=message_id,
        source=source,
        type=event_type,
        version=1,
        key=str(key),
        sequence="",
        correlation_id="",
        causation_id="",
        traceparent="",
        recorded_at=None,
        data=data,
        digest=digest_of(event_type, 1, data),
        is_bare=True,
    )


def read_own_id(text: str) -> UUID | None:
    """Return the id of an event of an outbox; None for ids that only foreign services give."""
    try:
        return UUID(text)
    except ValueError:
        return None


def digest_of(event_type: str, version: int, data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an event's type, version and data, whatever the order of its fields."""
    return hashlib.sha256(_canonical.encode([event_type, version, data]).encode()).hexdigest()


def _read_json(body: bytes, max_bytes: int) -> Any:
    if len(body) > max_bytes:
        raise EventRefused(f"The message has {len(body)} bytes; at most {max_bytes} are read.")
    try:
        return parse_json(body.decode(), "The message", max_bytes)
    except UnicodeDecodeError:
        raise EventRefused("The message is not UTF-8 text.") from None
    except InputRefused as error:
        raise EventRefused(str(error)) from error


def _split_structured(envelope: Any) -> tuple[dict[str, str], Any]:
    if not isinstance(envelope, dict):
        raise EventRefused(f"A structured CloudEvent must be a JSON object, not {_name_type(envelope)}.")
    if "data_base64" in envelope:
        raise EventRefused("The data of a CloudEvent must be a JSON object, not base64.")
    data = envelope.pop("data", None)
    envelope = {name: value for name, value in envelope.items() if value is not None}  # null: the attribute is unset
    if wrong := [
        name for name, value in envelope.items() if isinstance(value, bool) or not isinstance(value, str | int)
    ]:
        raise EventRefused(f"The CloudEvents attribute {wrong[0]!r:.60} must be a text or a whole number.")
    return {name: str(value) for name, value in envelope.items()}, data


def _check_attributes(attributes: dict[str, str]) -> dict[str, str]:
    """Return the attributes, once checked by the package of CloudEvents and against the columns.

    Raises: EventRefused.
    """
    from cloudevents.core.exceptions import CloudEventValidationError  # an extra
    from cloudevents.core.v1.event import CloudEvent

    limits = {
        "id": columns.MAX_ID_CHARS, "source": columns.MAX_SOURCE_CHARS, "type": columns.MAX_TYPE_CHARS,
        "partitionkey": columns.MAX_KEY_CHARS, "subject": columns.MAX_KEY_CHARS,
        "correlationid": columns.MAX_ID_CHARS, "causationid": columns.MAX_ID_CHARS,
    }  # fmt: skip
    for name, value in attributes.items():
        if len(value) > (most := limits.get(name, MAX_ATTRIBUTE_CHARS)):
            raise EventRefused(f"The CloudEvents attribute {name[:60]!r} has more than {most} characters.")
        if "\x00" in value:
            raise EventRefused(f"The CloudEvents attribute {name[:60]!r} holds the character NUL.")
    checked: dict[str, Any] = {**attributes, "time": datetime.now(UTC)}
    for name in ("id", "specversion"):  # the package would make them up
        checked.setdefault(name, "")
    try:
        CloudEvent(checked)
    except CloudEventValidationError as error:
        places = ", ".join(sorted(error.errors))
        raise EventRefused(f"The message is no CloudEvent 1.0; wrong or missing: {places}.") from error
    return attributes


def _read_version(attributes: Mapping[str, str]) -> int:
    text = attributes.get("schemaversion", "1")
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) >= 1):
        raise EventRefused(f"The attribute 'schemaversion' must be a whole number from 1 to 999, not {text!r:.60}.")
    return int(text)


def _write_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read_time(text: str) -> datetime | None:
    """Return a time with a zone; None if it cannot be read, because nothing is decided by it."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _name_type(value: Any) -> str:
    return "null" if value is None else type(value).__name__
