"""Declaration of events: frozen dataclasses with a stored name, a major version, a key field and one sender.

Pure: no Django import, so a module of events can be imported by models and settings.

Source: CloudEvents 1.0 (type, source, subject); Stopford, Designing Event-Driven Systems, chapter 13 (one writer).
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, dataclass_transform

from ..exceptions import DefinitionError
from . import schema
from .errors import EventRefused

EventT = TypeVar("EventT")
ValueT = TypeVar("ValueT")

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")  # also the name of a topic, which Kafka limits to these characters
MAX_VERSION = 999
DEFAULT_FLOW = "events"
# What services of tutorials and books publish, so what a foreign participant is expected to send by default.
LITERATURE = (
    "OrderCreated", "PaymentCompleted", "PaymentFailed", "StockReserved", "StockFailed", "OrderCancelled",
    "PaymentRefunded",
)  # fmt: skip

Personal = Annotated[ValueT, schema.PERSONAL]
"""Type of a field with personal data: ``name: Personal[str]``. The console masks it without a permission of its own."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class EventType:
    """What is declared about one event."""

    name: str
    """The stored name, which is the CloudEvents ``type``."""
    version: int
    """Major version of the schema."""
    schema: type
    """The dataclass."""
    sender: str
    """App label of the one participant that publishes it; empty: the app that contains the module."""
    key: str
    """Name of the key field in Python; empty: unordered."""
    flow: str
    """Stream that carries it in the layout ``flow``."""
    upcasters: Mapping[int, Upcaster] = field(default_factory=dict)
    """Functions from the data of an older major version to those of the next, by the older version."""

    @property
    def module(self) -> str:
        """Module that declares it."""
        return self.schema.__module__

    @property
    def wire_key(self) -> str:
        """Name of the key field in the data; empty without a key."""
        return schema.to_wire_name(self.key) if self.key else ""

    def key_of(self, event: Any) -> str:
        """Return the key of an event, as text; empty without a key field."""
        return str(getattr(event, self.key)) if self.key else ""

    def load(self, data: Mapping[str, Any], version: int) -> Any:
        """Return the event from its data, of this or an older major version.

        Raises: EventRefused when the data do not fit, or no upcaster leads from that version.
        """
        return schema.load(self.schema, self.upcast(dict(data), version))

    def upcast(self, data: dict[str, Any], version: int) -> dict[str, Any]:
        """Return the data of an older major version in the form of this one.

        Raises: EventRefused.
        """
        for old in range(version, self.version):
            if old not in self.upcasters:
                raise EventRefused(f"{self.name} has no upcaster from major version {old} to {old + 1}.")
            try:
                data = self.upcasters[old](data)
            except Exception as error:
                raise EventRefused(
                    f"The upcaster of {self.name} from major version {old} failed: {type(error).__name__}: {error}"
                ) from error
        return data

    def can_read(self, version: int) -> bool:
        """Return whether data of a major version can be read."""
        return all(old in self.upcasters for old in range(version, self.version)) and 1 <= version <= self.version


_by_name: dict[str, EventType] = {}
_by_class: dict[type, EventType] = {}


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(
    name: str,
    *,
    key: str = "",
    version: int = 1,
    sender: str = "",
    flow: str = DEFAULT_FLOW,
    upcasters: Mapping[int, Upcaster] | None = None,
) -> Callable[[type[EventT]], type[EventT]]:
    """Declare the decorated class as an event; it becomes a frozen dataclass with keyword arguments only.

    ``name``: the stored name, such as ``OrderCreated``. ``key``: the field that orders events, such as ``order_id``.
    ``sender``: app label of the only participant that may send it, by default the app of the module. ``flow``: stream
    that carries it. ``upcasters``: by an older major version, a function from its data to those of the next version.
    Raises: DefinitionError at import.
    """

    def declare(cls: type[EventT]) -> type[EventT]:
        if not dataclasses.is_dataclass(cls) or "__dataclass_fields__" not in vars(cls):
            cls = dataclass(frozen=True, kw_only=True)(cls)
        register(
            EventType(
                name=name, version=version, schema=cls, sender=sender, key=key, flow=flow,
                upcasters=dict(upcasters or {}),
            )
        )  # fmt: skip
        return cls

    return declare


def register(declared: EventType) -> None:
    """Check and remember a declaration; the same class may be registered again.

    Raises: DefinitionError.
    """
    _check(declared)
    known = _by_name.get(declared.name)
    if known is not None and (known.module, known.schema.__qualname__) != (
        declared.module, declared.schema.__qualname__
    ):  # fmt: skip
        raise DefinitionError(
            f"Event {declared.name} is declared twice: by {known.module}.{known.schema.__qualname__} and by"
            f" {declared.module}.{declared.schema.__qualname__}. An event has one sender and one schema."
        )
    _by_name[declared.name] = declared
    _by_class[declared.schema] = declared


def find_type(name: str) -> EventType | None:
    """Return the declaration with this stored name."""
    return _by_name.get(name)


def type_of(event_class: type) -> EventType:
    """Return the declaration of an event's class.

    Raises: DefinitionError when the class is no declared event.
    """
    declared = _by_class.get(event_class)
    if declared is None:
        raise DefinitionError(
            f"{event_class.__name__} is not declared as an event: decorate it with @event(...) in <app>/events.py."
        )
    return declared


def list_types() -> list[EventType]:
    """Return all declarations, by name."""
    return sorted(_by_name.values(), key=lambda declared: declared.name)


def forget(event_class: type) -> None:
    """Remove a declaration; for tests."""
    declared = _by_class.pop(event_class)
    _by_name.pop(declared.name, None)


def _check(declared: EventType) -> None:
    where = f"Event {declared.name!r}"
    for what, value in (("name", declared.name), ("flow", declared.flow)):
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise DefinitionError(
                f"{where}: the {what} {value!r} must begin with a letter and hold at most 100 letters, digits, '_', '.'"
                " and '-'."
            )
    if type(declared.version) is not int or not 1 <= declared.version <= MAX_VERSION:
        raise DefinitionError(f"{where}: version must be a whole number from 1 to {MAX_VERSION}.")
    schema.check(declared.schema, where)
    names = {found.name for found in dataclasses.fields(declared.schema)}
    if declared.key and declared.key not in names:
        raise DefinitionError(f"{where} has no field {declared.key!r} for its key; it has: {', '.join(sorted(names))}.")
    if wrong := [old for old in declared.upcasters if type(old) is not int or not 1 <= old < declared.version]:
        raise DefinitionError(f"{where}: upcasters lead from older major versions only, not from {wrong[0]!r}.")
