"""What was published, as the events that ``publish`` was given."""

from typing import Any, TypeVar, overload

from django.core.exceptions import ImproperlyConfigured

from ...events import catalogue
from ...events.declaration import find_type, type_of
from ...events.settings import get_event_settings
from ...models import OutboxEvent

EventT = TypeVar("EventT")


@overload
def published(event_class: None = None, *, key: str = "") -> list[Any]: ...
@overload
def published(event_class: type[EventT], *, key: str = "") -> list[EventT]: ...
def published(event_class: type[Any] | None = None, *, key: str = "") -> list[Any]:
    """Return the published events of all participants, oldest first: all, those of one class or of one key.

    Raises: ImproperlyConfigured when events are off; EventRefused for a row that the code cannot read any more.
    """
    name = type_of(event_class).name if event_class is not None else ""
    return [_load(row) for row in list_rows() if name in ("", row.type) and key in ("", row.key)]


def assert_nothing_published(*event_classes: type) -> None:
    """Check that no event was published: none at all, or none of these classes.

    Raises: AssertionError, which lists them; ImproperlyConfigured when events are off.
    """
    names = {type_of(event_class).name for event_class in event_classes}
    if found := [row for row in list_rows() if not names or row.type in names]:
        lines = "\n".join(f"  {row.participant}: {row.type} {row.key} {row.data}" for row in found)
        raise AssertionError(f"{len(found)} events were published:\n{lines}")


def list_rows() -> list[OutboxEvent]:
    """Return the rows of all outboxes, oldest first.

    Raises: ImproperlyConfigured when events are off.
    """
    require_events()
    rows = [row for alias in catalogue.event_databases() for row in OutboxEvent.objects.using(alias).order_by("id")]
    return sorted(rows, key=lambda row: row.recorded_at)


def require_events() -> None:
    """Check that events are on.

    Raises: ImproperlyConfigured.
    """
    if not get_event_settings().are_on:
        raise ImproperlyConfigured(
            "Events are off, so nothing can be published. Set SAGAS['EVENTS'] = {'URL': 'memory://', 'RELAY_ON_COMMIT':"
            " False} in the settings of the tests."
        )


def _load(row: OutboxEvent) -> Any:
    declared = find_type(row.type)
    if declared is None:
        raise AssertionError(f"{row.type} is in the outbox of {row.participant}, but the code does not declare it.")
    return declared.load(row.data, row.version)
