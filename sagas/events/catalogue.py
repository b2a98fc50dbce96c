"""Catalogue: which app sends an event, which consumers handle it, and which topic carries it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from ..conf import get_settings
from ..models import InboxEvent
from .declaration import EventType, find_type, list_types
from .handlers import Handler, list_handlers
from .settings import get_event_settings

# Consumer label of the tracker of choreographies: the engine's app, whose database is the engine's.
TRACKER = "sagas"


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """Topics that one consumer reads."""

    consumer: str
    topics: tuple[str, ...]
    """Names without the prefix."""


def sender_of(declared: EventType) -> str:
    """Return the app label of an event's sender; empty if its module belongs to no app."""
    return declared.sender or _label_of(declared.module)


def consumer_of(handler: Handler) -> str:
    """Return the app label of a handler's consumer; empty if its module belongs to no app."""
    return handler.consumer or _label_of(handler.function.__module__)


def topic_of(declared: EventType) -> str:
    """Return the topic of an event, without the prefix."""
    return declared.name if get_event_settings().layout == "type" else declared.flow


def list_topics() -> list[str]:
    """Return the topics of the whole catalogue, without the prefix: also those that only strangers write to."""
    return sorted({topic_of(declared) for declared in list_types()})


def list_consumers() -> list[str]:
    """Return the app labels of all participants with handlers."""
    return sorted({consumer_of(handler) for handler in list_handlers()})


def list_local_consumers() -> list[str]:
    """Return the app labels of the participants whose consumers run here."""
    return [label for label in list_consumers() if is_local(label)]


def is_local(participant: str) -> bool:
    """Return whether a participant's relay and consumer run here; the tracker's does."""
    here = get_event_settings().participants
    return not here or participant in here or participant == TRACKER


def list_local_senders() -> list[str]:
    """Return the app labels of the participants whose relays run here."""
    return sorted({label for label in map(sender_of, list_types()) if label and is_local(label)})


def handlers_of(consumer: str) -> dict[str, Handler]:
    """Return a consumer's handlers by the name of their event.

    Raises: ImproperlyConfigured when it has two for one event.
    """
    found: dict[str, Handler] = {}
    for handler in list_handlers():
        if consumer_of(handler) != consumer:
            continue
        if (other := found.get(handler.event.name)) is not None:
            raise ImproperlyConfigured(
                f"{consumer} handles {handler.event.name} twice: in {other.name} and in {handler.name}. Let one"
                " function do both, so that they commit together."
            )
        found[handler.event.name] = handler
    return found


def consumers_of(declared: EventType) -> list[str]:
    """Return the app labels of the participants that handle an event."""
    return sorted({consumer_of(handler) for handler in list_handlers() if handler.event.name == declared.name})


def subscription_of(consumer: str) -> Subscription:
    """Return the topics that a consumer reads."""
    handlers = handlers_of(consumer).values()
    return Subscription(consumer=consumer, topics=tuple(sorted({topic_of(handler.event) for handler in handlers})))


def list_subscriptions() -> list[Subscription]:
    """Return the subscriptions of all consumers that run here."""
    return [subscription_of(consumer) for consumer in list_local_consumers()]


def consumers_of_type(name: str) -> Sequence[str]:
    """Return the consumers that run here of an event, by its stored name."""
    declared = find_type(name)
    return [] if declared is None else [label for label in consumers_of(declared) if is_local(label)]


def database_of(participant: str) -> str:
    """Return the alias that holds a participant's outbox and inbox.

    The tracker and apps without models use the engine's database.
    Raises: ImproperlyConfigured when there is no such app.
    """
    if participant not in apps.app_configs:
        raise ImproperlyConfigured(
            f"{participant!r} is not the label of an installed app. Installed: {', '.join(sorted(apps.app_configs))}."
        )
    models = () if participant == TRACKER else apps.get_app_config(participant).get_models()
    for model in models:
        return router.db_for_write(model)
    return get_settings().database


def event_databases() -> list[str]:
    """Return the aliases with an outbox and an inbox of participants that run here, the engine's first."""
    own = get_settings().database
    labels = {*list_consumers(), *(sender_of(declared) for declared in list_types())} - {""}
    aliases = {database_of(label) for label in labels if label in apps.app_configs and is_local(label)}
    return sorted(
        (alias for alias in aliases if router.allow_migrate_model(alias, InboxEvent)),
        key=lambda alias: (alias != own, alias),
    )


def _label_of(module: str) -> str:
    config = apps.get_containing_app_config(module)
    return config.label if config is not None else ""
