"""Wake-up messages from a broker: validated, and rewritten into the request that Celery gets instead.

Celery (5.7) trusts every header of a message: it unpacks, compares and stores them in the worker's main process,
before any code of the task runs. So Celery gets only examined values from here.

Source: celery/celery ``celery/worker/request.py``, ``celery/worker/strategy.py`` (what is read, and where).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from celery.app.task import Context

from ..engine.notify.celery_apps import CONTENT_TYPE

ENCODINGS = frozenset({"", "utf-8", "utf8", "ascii", "us-ascii"})
BODY_MAX_BYTES = 16 * 1024  # a wake-up has about 80; a larger body is not parsed
TEXT_MAX_LENGTH = 255  # of an id, a host or a queue
NUMBER_MAX = 10**9
EXTRA_MAX_COUNT, EXTRA_MAX_LENGTH = 32, 8 * 1024  # a tracing header such as W3C's ``baggage`` has at most 8192 bytes

QUEUE_HEADER = "sagas_queue"
"""Queue that was woken."""
SERVED_HEADER = "sagas_served"
"""Queues that the worker consumed from when it took the message; only the worker itself writes this header."""


class MalformedMessage(Exception):
    """A message is refused; the text names the wrong part and quotes nothing of it."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A fully examined wake-up."""

    saga_id: UUID
    """Id of a saga or of a bulk."""
    message_id: str
    root_id: str
    parent_id: str | None = None
    origin: str | None = None
    queue: str = ""
    """Queue that was woken; empty: the sender named none."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Foreign headers, such as those of tracers: plain values, under names that Celery does not use."""

    def as_body(self) -> str:
        """Return the body of a message of protocol 2."""
        return json.dumps([[str(self.saga_id)], {}, {}])

    def as_headers(self, task: str, served: list[str]) -> dict[str, Any]:
        """Return the headers of a message of protocol 2."""
        return {
            **self.extras,
            "lang": "py", "task": task, "id": self.message_id, "root_id": self.root_id, "parent_id": self.parent_id,
            "group": None, "shadow": None, "eta": None, "expires": None, "retries": 0, "timelimit": [None, None],
            "argsrepr": repr([str(self.saga_id)]), "kwargsrepr": "{}", "origin": self.origin, "ignore_result": True,
            SERVED_HEADER: served,
        }  # fmt: skip


def read_envelope(message: Any, payload: Any = None) -> Envelope:
    """Return the wake-up in a message of Celery's protocol 2, or of protocol 1, whose decoded body is the payload.

    Raises: MalformedMessage.
    """
    _examine_properties(message.properties)
    if payload is None:
        _examine_form(message.content_type, message.content_encoding)
        payload = _parse(message.body)
    headers = message.headers
    if not isinstance(headers, Mapping):
        raise MalformedMessage("its headers are not a mapping")
    if isinstance(payload, dict):
        # Protocol 1 keeps in the body what protocol 2 keeps in headers.
        facts = {**{name: value for name, value in payload.items() if name not in BODY_FIELDS}, **headers}
        parts: Any = [payload.get("args", []), payload.get("kwargs", {}), None]
        _examine_embedded({name: payload.get(name) for name in EMBEDDED})
    else:
        facts, parts = dict(headers), payload
    _examine_headers(facts)
    return Envelope(
        saga_id=_read_saga_id(parts),
        message_id=facts["id"],
        root_id=facts.get("root_id") or facts["id"],
        parent_id=facts.get("parent_id"),
        origin=facts.get("origin"),
        queue=facts.get(QUEUE_HEADER) or "",
        extras=_pick_extras(facts),
    )


def is_text(value: Any) -> bool:
    """Return whether a value is a short text, possibly empty, that is safe to log."""
    return isinstance(value, str) and len(value) <= TEXT_MAX_LENGTH and value.isprintable()


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= NUMBER_MAX


def _is_limit(value: Any) -> bool:
    if value is None:
        return True
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN fails both comparisons; math.isfinite would raise for an integer beyond any float.
    return is_number and 0 <= value <= NUMBER_MAX


def _is_pair_of_limits(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_is_limit(limit) for limit in value)


def _is_moment(value: Any) -> bool:
    if isinstance(value, datetime):
        return True
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(is_text(item) for item in value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


Judge = Callable[[Any], bool]

# Everything that Celery reads from a message. None always counts as absent.
HEADERS: Mapping[str, Judge] = {
    "lang": is_text, "task": is_text, "id": is_text, "root_id": is_text, "parent_id": is_text, "group": is_text,
    "group_index": _is_whole_number, "meth": is_text, "shadow": is_text, "eta": _is_moment, "expires": _is_moment,
    "retries": _is_whole_number, "timelimit": _is_pair_of_limits, "argsrepr": _is_string, "kwargsrepr": _is_string,
    "origin": is_text, "ignore_result": _is_bool, "replaced_task_nesting": _is_whole_number,
    "stamped_headers": _is_list_of_texts, "stamps": _is_mapping, "compression": is_text, "utc": _is_bool,
    "taskset": is_text, "headers": _is_mapping, QUEUE_HEADER: is_text,
}  # fmt: skip
PROPERTIES: Mapping[str, Judge] = {
    "correlation_id": is_text, "reply_to": is_text, "priority": _is_whole_number, "delivery_info": _is_mapping,
}  # fmt: skip
EMBEDDED = ("callbacks", "errbacks", "chord", "chain")
BODY_FIELDS = frozenset({"args", "kwargs", *EMBEDDED})


def _examine_form(content_type: Any, content_encoding: Any) -> None:
    if content_type != CONTENT_TYPE:
        raise MalformedMessage(f"its content type is not {CONTENT_TYPE}")
    encoding = content_encoding or ""
    if not isinstance(encoding, str) or encoding.lower() not in ENCODINGS:
        raise MalformedMessage("its content encoding is not utf-8")


def _examine_properties(properties: Any) -> None:
    properties = properties or {}
    if not isinstance(properties, Mapping):
        raise MalformedMessage("its properties are not a mapping")
    for name, fits in PROPERTIES.items():
        value = properties.get(name)
        if value is not None and not fits(value):
            raise MalformedMessage(f"its property {name!r} is an invalid {type(value).__name__}")


def _examine_headers(facts: Mapping[str, Any]) -> None:
    for name, fits in HEADERS.items():
        value = facts.get(name)
        if value is not None and not fits(value):
            raise MalformedMessage(f"its header {name!r} is an invalid {type(value).__name__}")
    if not facts.get("id"):
        raise MalformedMessage("it has no header 'id'")


def _parse(body: Any) -> Any:
    if isinstance(body, memoryview):
        body = body.tobytes()
    if not isinstance(body, str | bytes):
        raise MalformedMessage(f"its body has the wrong type {type(body).__name__}")
    if len(body) > BODY_MAX_BYTES:
        raise MalformedMessage(f"its body is larger than {BODY_MAX_BYTES} bytes")
    try:
        # Plain JSON: kombu's decoder would create objects of the types that a message names.
        return json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedMessage("its body is not JSON") from None


def _read_saga_id(parts: Any) -> UUID:
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise MalformedMessage("its body is not a list of arguments, keywords and options")
    arguments, keywords, embedded = parts
    if not isinstance(arguments, list | tuple) or not isinstance(keywords, dict):
        raise MalformedMessage("its arguments are not a list and a mapping")
    if embedded is not None:
        _examine_embedded(embedded)
    values = [*arguments, *keywords.values()]
    if len(values) != 1 or set(keywords) - {"saga_id"}:
        raise MalformedMessage("it does not name exactly one saga")
    try:
        return UUID(values[0])
    except (TypeError, ValueError, AttributeError):
        raise MalformedMessage("the id of its saga is not a UUID") from None


def _examine_embedded(embedded: Any) -> None:
    """Refuse malformed options of the body; valid ones mean nothing to a wake-up and are dropped."""
    if not isinstance(embedded, dict):
        raise MalformedMessage("its options are not a mapping")
    for name in EMBEDDED:
        value = embedded.get(name)
        if value is not None and not isinstance(value, dict if name == "chord" else list | tuple):
            raise MalformedMessage(f"its option {name!r} is an invalid {type(value).__name__}")


def _pick_extras(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain foreign headers, such as those of tracers; Celery makes them attributes of the request."""
    nested = facts.get("headers")
    extras = _pick_plain(facts)
    if isinstance(nested, Mapping) and (plain := _pick_plain(nested)):
        extras["headers"] = plain
    return extras


def _pick_plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in facts.items():
        is_theirs = (
            name and is_text(name) and name not in HEADERS and not hasattr(Context, name) and name != SERVED_HEADER
        )
        if is_theirs and _is_plain(value) and len(plain) < EXTRA_MAX_COUNT:
            plain[name] = value
    return plain


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= EXTRA_MAX_LENGTH and value.isprintable()
    return value is None or isinstance(value, bool) or _is_limit(value)
