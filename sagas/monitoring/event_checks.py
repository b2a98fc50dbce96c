"""Django system checks of events: settings, transport, catalogue and routing. No check connects to anything.

Silent while events are off, except for settings that cannot be read.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Info, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

from ..events import catalogue, transports
from ..events.declaration import EventType, list_types
from ..events.handlers import list_handlers
from ..events.settings import EventSettings, get_event_settings
from ..models import InboxEvent
from .checks import TAG, AppConfigs, read_settings

DURATIONS = (
    "handler_timeout", "not_yet_limit", "relay_interval", "resend_after", "retention", "send_timeout",
    "topic_retention",
)  # fmt: skip


@register(TAG)
def check_event_settings(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report an ``EVENTS`` that cannot be read (E028), and values that cannot work (E035)."""
    if read_settings() is None:
        return []
    try:
        settings = get_event_settings()
    except ImproperlyConfigured as error:
        return [_error("E028", str(error), "docs/reference/settings.md lists every name and its type.")]
    return [_error("E035", what, todo) for what, todo in _find_wrong_values(settings)]


def are_readable() -> bool:
    """Return whether the settings of the engine and of events can be read; otherwise E001 or E028 reports them."""
    try:
        return read_settings() is not None and bool(get_event_settings())
    except ImproperlyConfigured:
        return False


@register(TAG)
def check_transport(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report a broker of an unknown kind, and packages that are missing (E029)."""
    if _read_active() is None:
        return []
    try:
        transports.make_transport().close()
    except (ImproperlyConfigured, ValueError, TypeError) as error:
        hint = "Change SAGAS['EVENTS']['URL'] or OPTIONS, or install the package."
        return [_error("E029", f"The broker of events cannot be used: {error}", hint)]
    return []


@register(TAG, deploy=True)
def check_memory_transport(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report a broker that no other process can reach (E036 of ``check --deploy``)."""
    settings = _read_active()
    if settings is None or settings.transport != transports.IN_PROCESS:
        return []
    hint = "Set SAGAS['EVENTS']['URL'] to a server; memory:// is for tests."
    return [_error("E036", "Events stay in the process that publishes them: the broker is memory://.", hint)]


@register(TAG)
def check_catalogue(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report handlers without a consumer (E030) or twice (E031), events without a sender (E032) or handler (I001)."""
    if _read_active() is None:
        return []
    return [*_check_handlers(), *_check_senders(), *_check_audience()]


@register(TAG)
def check_event_topics(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report bare topics that do not carry exactly one event of the catalogue (E034)."""
    settings = _read_active()
    if settings is None:
        return []
    found: list[CheckMessage] = []
    for topic in settings.bare_topics:
        carried = [declared.name for declared in list_types() if catalogue.topic_of(declared) == topic]
        if len(carried) == 1:
            continue
        what = f"The bare topic {topic!r} carries {', '.join(carried) or 'no event of the catalogue'} in layout"
        hint = "Plain JSON has no type, so its topic must carry one event only: set LAYOUT to type, or leave it out."
        found.append(_error("E034", f"{what} {settings.layout}.", hint))
    return found


@register(TAG)
def check_event_databases(app_configs: AppConfigs = None, **kwargs: Any) -> list[CheckMessage]:
    """Report participants whose database gets no tables of events (E033), and unknown ones that run here (E037)."""
    settings = _read_active()
    if settings is None:
        return []
    installed = f"Use labels of installed apps: {', '.join(sorted(apps.app_configs))}."
    found: list[CheckMessage] = [
        _error("E037", f"SAGAS['EVENTS']['PARTICIPANTS'] names {label!r}, which is no app.", installed)
        for label in sorted(set(settings.participants) - set(apps.app_configs))
    ]
    labels = {*catalogue.list_local_senders(), *catalogue.list_local_consumers()} & set(apps.app_configs)
    for label in sorted(labels):
        alias = catalogue.database_of(label)
        if alias not in connections.settings or not router.allow_migrate_model(alias, InboxEvent):
            what = f"Database {alias!r} of {label!r} gets no tables of events: nothing can be published or handled."
            hint = "Let allow_migrate of a router accept what sagas.participants.tables names for this alias."
            found.append(_error("E033", what, hint))
    return found


def _find_wrong_values(settings: EventSettings) -> Iterator[tuple[str, str]]:
    """Yield each value that cannot work, and what to do."""
    for name in DURATIONS:
        if getattr(settings, name) <= timedelta():
            yield f"SAGAS['EVENTS'][{name.upper()!r}] is not longer than 0.", "Set a positive duration."
    if settings.retention < settings.topic_retention:
        what = "SAGAS['EVENTS']['RETENTION'] is shorter than TOPIC_RETENTION: a topic would outlive the outbox."
        yield what, "Make RETENTION at least as long."
    longest: timedelta = settings.resend_after * 2**settings.resends_max
    if settings.retention <= longest:
        what = f"SAGAS['EVENTS']['RETENTION'] is not longer than the {longest} within which events are sent again."
        yield what, "Make RETENTION longer, or RESEND_AFTER or RESENDS_MAX smaller."
    kept = settings.options.get("keep_seconds")
    if isinstance(kept, int | float) and timedelta(seconds=kept) > settings.topic_retention:
        what = f"Topics keep messages for {kept:g} s, longer than TOPIC_RETENTION: an inbox could forget some too soon."
        yield what, "Make keep_seconds in SAGAS['EVENTS']['OPTIONS'] at most as long as TOPIC_RETENTION."


def _check_handlers() -> Iterator[CheckMessage]:
    for handler in list_handlers():
        consumer = catalogue.consumer_of(handler)
        if consumer not in apps.app_configs:
            where = f"names {consumer!r}, which is no app" if consumer else "is in no installed app"
            hint = "Move it into <app>/handlers.py of an installed app, or name the app with consumer=."
            yield _error("E030", f"Handler {handler.name} of {handler.event.name} {where}: it never runs.", hint)
    for consumer in catalogue.list_consumers():
        try:
            catalogue.handlers_of(consumer)
        except ImproperlyConfigured as error:
            yield _error("E031", str(error), "Call both from one handler.")


def _check_senders() -> Iterator[CheckMessage]:
    for declared in list_types():
        sender = catalogue.sender_of(declared)
        if sender not in apps.app_configs and not _is_foreign(declared):
            where = f"names {sender!r}, which is no app" if sender else "is declared in no installed app"
            hint = "Declare it in <app>/events.py of an installed app, or name the app with sender=."
            yield _error("E032", f"Event {declared.name} {where}: no participant may send it.", hint)


def _is_foreign(declared: EventType) -> bool:
    """Return whether another service sends an event: its sender is named, and a participant here handles it."""
    return bool(declared.sender) and bool(catalogue.consumers_of(declared))


def _check_audience() -> Iterator[CheckMessage]:
    for declared in list_types():
        if not catalogue.consumers_of(declared):
            hint = "That is right if only other services handle it."
            yield Info(f"No participant here handles the event {declared.name}.", hint=hint, id=f"{TAG}.I001")


def _read_active() -> EventSettings | None:
    """Return the settings of events, or None while events are off or E001 or E028 report the settings."""
    try:
        settings = get_event_settings() if read_settings() is not None else None
    except ImproperlyConfigured:
        return None
    return settings if settings is not None and settings.are_on else None


def _error(number: str, what: str, hint: str) -> CheckMessage:
    return Error(what, hint=hint, id=f"{TAG}.{number}")
