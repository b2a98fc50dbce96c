"""Databases that only one test uses: one for all apps, or one for each participant."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from config.settings import configure_database
from tests.depth import IS_FULL
from tests.end_to_end.blueprints import FOUR_DATABASES, ONE_DATABASE
from tests.servers import PARTICIPANTS

BOTH = (ONE_DATABASE, FOUR_DATABASES)
TOPOLOGY_NAMES = {ONE_DATABASE: "one", FOUR_DATABASES: "four"}

ALIASES = {"DATABASE_URL": "default", **{f"{name.upper()}_DATABASE_URL": name for name in PARTICIPANTS}}


@contextmanager
def using_databases(environment: Mapping[str, str]) -> Iterator[None]:
    """Use the databases of an environment instead of the run's, which are restored at the end.

    Shape: ``environment`` has DATABASE_URL, and perhaps those of participants.
    """
    wanted = {alias: environment[variable] for variable, alias in ALIASES.items() if variable in environment}
    before, kept = dict(settings.DATABASES), {alias: connections[alias] for alias in connections}
    for alias in before:
        del connections[alias]
    _configure(connections.configure_settings({alias: configure_database(alias, url) for alias, url in wanted.items()}))
    try:
        yield
    finally:
        connections.close_all()
        for alias in wanted:
            del connections[alias]
        _configure(before)
        for alias, connection in kept.items():
            connections[alias] = connection


def _configure(databases: Mapping[str, object]) -> None:
    # The connection handler uses this very dict.
    settings.DATABASES.clear()
    settings.DATABASES.update(databases)


def each_on(
    name: str, *, one: Sequence[Any] = (), four: Sequence[Any] = (), full: Sequence[Any]
) -> pytest.MarkDecorator:
    """Run a test for each of these values on one database, and for those on four; in full, all on both."""
    chosen = [(count, thing) for count in BOTH for thing in full]
    if not IS_FULL:
        chosen = [*((ONE_DATABASE, thing) for thing in one), *((FOUR_DATABASES, thing) for thing in four)]
    ids = [f"{TOPOLOGY_NAMES[count]}-{getattr(thing, 'name', thing)}" for count, thing in chosen]
    return pytest.mark.parametrize(("databases", name), chosen, ids=ids, indirect=["databases"])


def on(*counts: int) -> pytest.MarkDecorator:
    """Run a test on these numbers of databases."""
    return pytest.mark.parametrize("databases", counts, ids=[TOPOLOGY_NAMES[count] for count in counts], indirect=True)
