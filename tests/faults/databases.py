"""Point this process's Django at databases that only one test uses: one for all, or one for each participant."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from config.settings import configure_database
from tests.acceptance.blueprints import FOUR_DATABASES, ONE_DATABASE
from tests.servers import PARTICIPANTS

from .enumeration import Path

BOTH = (ONE_DATABASE, FOUR_DATABASES)
TOPOLOGY_NAMES = {ONE_DATABASE: "one", FOUR_DATABASES: "four"}
# Set to "all", every disturbance is tried on both, as before a release; else what goes beyond kills is on one of them.
EVERYWHERE = os.environ.get("SAGAS_TEST_FAULTS") == "all"

ALIASES = {"DATABASE_URL": "default", **{f"{name.upper()}_DATABASE_URL": name for name in PARTICIPANTS}}


@contextmanager
def using_databases(environment: Mapping[str, str]) -> Iterator[None]:
    """Use the databases that an environment names instead of those of the run, which come back at the end.

    Shape: ``environment`` has DATABASE_URL, and perhaps those of participants.
    """
    wanted = {alias: environment[variable] for variable, alias in ALIASES.items() if variable in environment}
    before, kept = dict(settings.DATABASES), {alias: connections[alias] for alias in connections}
    for alias in before:
        del connections[alias]
    _configure(connections.configure_settings({alias: configure_database(url) for alias, url in wanted.items()}))
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
    # The connection handler works on this very dict.
    settings.DATABASES.clear()
    settings.DATABASES.update(databases)


def each_on(*pairs: tuple[int, Path[Any]]) -> pytest.MarkDecorator:
    """Run a test once for each pair of a number of databases and a path, or for every path on both."""
    chosen = list(pairs)
    if EVERYWHERE:
        chosen = [(count, path) for count in BOTH for path in {path.name: path for _, path in pairs}.values()]
    ids = [f"{TOPOLOGY_NAMES[count]}-{path.name}" for count, path in chosen]
    return pytest.mark.parametrize(("databases", "path"), chosen, ids=ids, indirect=["databases"])
