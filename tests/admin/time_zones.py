"""Context managers that set the time zones of project and databases, for open connections too."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from django.db import connections
from django.test import override_settings

ZONE = "Europe/Berlin"


@contextmanager
def without_zones() -> Iterator[None]:
    """Make Django return naive local times."""
    with override_settings(USE_TZ=False, TIME_ZONE=ZONE):
        yield


@contextmanager
def zone_of_the_project() -> Iterator[None]:
    """Set the project's time zone."""
    with override_settings(USE_TZ=True, TIME_ZONE=ZONE):
        yield


@contextmanager
def zone_of_the_databases() -> Iterator[None]:
    """Set the time zone of every database."""
    before = {alias: connections[alias].settings_dict["TIME_ZONE"] for alias in connections}
    try:
        for alias in connections:
            _set_zone(alias, ZONE)
        yield
    finally:
        for alias, zone in before.items():
            _set_zone(alias, zone)


def _set_zone(alias: str, zone: str | None) -> None:
    connection = connections[alias]
    connection.settings_dict["TIME_ZONE"] = zone
    for name in ("timezone", "timezone_name"):
        connection.__dict__.pop(name, None)
    connection.ensure_timezone()


PROJECTS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "USE_TZ off": without_zones,
    "TIME_ZONE of the project": zone_of_the_project,
    "TIME_ZONE of the databases": zone_of_the_databases,
}
