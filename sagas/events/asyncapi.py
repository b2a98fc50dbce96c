"""Catalogue of events for other services: who sends what to whom, as rows and as AsyncAPI 3.0.

Source: AsyncAPI 3.0.0 (channels, operations, messages); CloudEvents 1.0.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import catalogue, json_schema, schema
from .cloudevents import JSON_TYPE, SEQUENCE_DIGITS
from .declaration import EventType, list_types
from .settings import get_event_settings

TITLE = "Events between participants"
REQUIRED_ATTRIBUTES = ("specversion", "id", "source", "type")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a catalogue says about one event."""

    event: EventType
    sender: str
    """App label of the only participant that sends it."""
    consumers: tuple[str, ...]
    """App labels of the participants that handle it."""
    topic: str
    """Topic that carries it, without the prefix."""
    personal: tuple[str, ...]
    """Paths of personal data in it, which leave for the broker."""

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-able data."""
        return {
            "event": self.event.name,
            "version": self.event.version,
            "key": self.event.wire_key,
            "sender": self.sender,
            "consumers": list(self.consumers),
            "topic": self.topic,
            "personal": list(self.personal),
        }


def list_entries(layout: str = "") -> list[Entry]:
    """Return the whole catalogue, by name; ``layout`` is by default that of the settings."""
    layout = layout or get_event_settings().layout
    return [
        Entry(
            event=declared,
            sender=catalogue.sender_of(declared),
            consumers=tuple(catalogue.consumers_of(declared)),
            topic=declared.name if layout == "type" else declared.flow,
            personal=tuple(schema.personal_paths(declared.schema)),
        )
        for declared in list_types()
    ]


def describe(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return a catalogue as an AsyncAPI 3.0 document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": TITLE,
            "version": "1.0.0",
            "description": (
                "CloudEvents 1.0 in binary mode: attributes as headers, data as a JSON object. Topics are named without"
                " the prefix of an environment. Events may arrive more than once: source and id identify one."
            ),
        },
        "defaultContentType": JSON_TYPE,
        "channels": {topic: _describe_channel(topic, entries) for topic in sorted({one.topic for one in entries})},
        "operations": {name: found for entry in entries for name, found in _describe_operations(entry).items()},
        "components": {"messages": {entry.event.name: _describe_message(entry) for entry in entries}},
    }


def _describe_channel(topic: str, entries: Sequence[Entry]) -> dict[str, Any]:
    names = [entry.event.name for entry in entries if entry.topic == topic]
    return {"address": topic, "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names}}


def _describe_operations(entry: Entry) -> dict[str, Any]:
    actions = [("send", entry.sender), *(("receive", consumer) for consumer in entry.consumers)]
    return {
        f"{participant}.{action}.{entry.event.name}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{entry.topic}"},
            "messages": [{"$ref": f"#/channels/{entry.topic}/messages/{entry.event.name}"}],
            "tags": [{"name": participant}],
        }
        for action, participant in actions
    }


def _describe_message(entry: Entry) -> dict[str, Any]:
    event = entry.event
    summary = (event.schema.__doc__ or "").partition("\n")[0]
    is_generated = summary.startswith(f"{event.schema.__name__}(")  # by @dataclass
    return {
        "name": event.name,
        "title": event.name,
        **({"summary": summary} if summary and not is_generated else {}),
        "contentType": JSON_TYPE,
        "headers": _describe_headers(entry),
        "payload": json_schema.describe(event.schema),
        "x-key": event.wire_key,
        "x-readable-versions": [old for old in range(1, event.version + 1) if event.can_read(old)],
        "x-personal": list(entry.personal),
    }


def _describe_headers(entry: Entry) -> dict[str, Any]:
    """Return the CloudEvents attributes of an event."""
    event, source = entry.event, get_event_settings().source.rstrip("/")
    text, moment = {"type": "string"}, {"type": "string", "format": "date-time"}
    key = {"partitionkey": text, "subject": text, "sequence": {**text, "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$"}}
    return {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text,
            "source": {**text, "description": f"{source}/{entry.sender}" + ("/KEY" if event.key else "")},
            "type": {"const": event.name},
            "schemaversion": {"const": str(event.version)},
            "datacontenttype": {"const": JSON_TYPE},
            **(key if event.key else {}),
            "time": moment,
            "recordedtime": moment,
            "correlationid": text,
            "causationid": text,
            "traceparent": text,
        },
        "required": [*REQUIRED_ATTRIBUTES, *(["partitionkey"] if event.key else [])],
    }
