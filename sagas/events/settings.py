"""Settings of events: the dict ``SAGAS["EVENTS"]``, read lazily, with defaults."""

from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ..conf import get_settings
from ..core.retry import RetryPolicy

LAYOUTS = ("flow", "type")
# The seven events of the pattern's literature.
LITERATURE = (
    "OrderCreated", "PaymentCompleted", "PaymentFailed", "StockReserved", "StockFailed", "OrderCancelled",
    "PaymentRefunded",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EventSettings:
    """All settings of events; the keys of ``SAGAS["EVENTS"]`` are these names in upper case."""

    url: str = field(default="", repr=False)
    """Broker: ``redis://host:port/db``, ``rediss://...``, or ``memory://`` in one process. Empty: events are off."""
    layout: str = "flow"
    """Topics: ``flow`` (a stream per flow) or ``type`` (a topic per event, named as the event)."""
    prefix: str = ""
    """Begins the names of all topics, such as ``staging.``: environments that share a broker need different ones."""
    source: str = ""
    """Begins the CloudEvents source of all events, such as ``/shop``; all services of a flow must agree on it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the transport; each transport documents its own."""
    participants: list[str] = field(default_factory=list)
    """App labels whose consumers and relays run here; empty: every app with handlers."""
    foreign_sends: list[str] = field(default_factory=lambda: list(LITERATURE))
    """Events that participants which do not run here send; a choreography expects no others of them."""
    bare_topics: list[str] = field(default_factory=list)
    """Topics, without the prefix, whose messages may be plain JSON of a foreign service."""
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=10, base=1.0, cap=300.0))
    """Budget and delays of a failing handler; after the budget the event is dead."""
    not_yet_limit: timedelta = timedelta(minutes=5)
    """How long an event may wait for what it builds on before an operator is shown it."""
    deliveries_max: int = 3
    """Deliveries of one message without an answer after which it is stored as dead without being run."""
    data_max_bytes: int = 200_000
    """Largest data of one event; what is larger is refused by ``publish`` and parked by a consumer."""
    handler_timeout: timedelta = timedelta(seconds=10)
    """Time-out of each statement of a handler."""
    send_attempts: int = 10
    """Refusals by the broker after which an event is parked."""
    send_timeout: timedelta = timedelta(seconds=10)
    """How long the relay waits for the broker's confirmation."""
    relay_batch: int = 200
    """Events that a relay claims at once."""
    relay_on_commit: bool = True
    """Whether a process that publishes also sends, right after its commits; otherwise polling relays alone do."""
    relay_interval: timedelta = timedelta(seconds=1)
    """Time between two searches for unsent events, if no wake-up arrives."""
    resend_after: timedelta = timedelta(seconds=60)
    """Time after its confirmation at which an event that a consumer of ours does not have counts as missing."""
    resends_max: int = 5
    """How often a missing event is sent again before an operator is asked."""
    retention: timedelta = timedelta(days=30)
    """How long events are kept in outbox and inbox once nothing is to be done about them."""
    topic_retention: timedelta = timedelta(days=7)
    """How long a topic keeps messages; the inbox must keep its rows for longer."""

    @property
    def are_on(self) -> bool:
        """Whether a transport is configured."""
        return bool(self.url)

    @property
    def transport(self) -> str:
        """Scheme of the URL; empty when events are off."""
        return self.url.partition("://")[0]


_cached: EventSettings | None = None


def get_event_settings() -> EventSettings:
    """Return the settings of events.

    Raises: ImproperlyConfigured for an unknown name, or a value of the wrong type or without meaning.
    """
    global _cached  # noqa: PLW0603 - one lazily read value per process
    if _cached is None:
        _cached = _read(get_settings().events)
    return _cached


def _read(given: dict[str, Any]) -> EventSettings:
    known = {declared.name.upper(): declared.name for declared in fields(EventSettings)}
    if unknown := sorted(set(given) - set(known)):
        raise ImproperlyConfigured(
            f"SAGAS['EVENTS'] has unknown settings: {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )
    defaults = EventSettings()
    for name, value in given.items():
        expected = type(getattr(defaults, known[name]))
        if type(value) is not expected:
            raise ImproperlyConfigured(
                f"SAGAS['EVENTS'][{name!r}] must be a {expected.__name__}, not a {type(value).__name__}."
            )
    read = EventSettings(**{known[name]: value for name, value in given.items()})
    if read.layout not in LAYOUTS:
        raise ImproperlyConfigured(f"SAGAS['EVENTS']['LAYOUT'] is {read.layout!r}; it must be flow or type.")
    for name in ("deliveries_max", "data_max_bytes", "send_attempts", "relay_batch", "resends_max"):
        if getattr(read, name) < 1:
            raise ImproperlyConfigured(f"SAGAS['EVENTS'][{name.upper()!r}] must be at least 1.")
    return read


def _forget(*, setting: str, **_: Any) -> None:
    global _cached  # noqa: PLW0603 - one lazily read value per process
    if setting == "SAGAS":
        _cached = None


setting_changed.connect(_forget, dispatch_uid="sagas.events.settings")
