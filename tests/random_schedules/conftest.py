"""Fixtures of the machine: a participant with its own database, and the tables of its world."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from .specs import OWN_DATABASE
from .world import CREATE_TABLES, DROP_TABLES, ENGINE


@pytest.fixture(scope="module")  # must run before pytest-django reads which databases a test may use
def apart(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """Give one participant its own database, also where the run has only one.

    There it is the same database through a connection of its own, which commits for itself: what the engine sees of
    a second database.
    Returns: its alias.
    """
    is_borrowed = OWN_DATABASE not in settings.DATABASES
    if is_borrowed:
        connections.settings[OWN_DATABASE] = {**connections[ENGINE].settings_dict}
    with django_db_blocker.unblock():
        _run_everywhere(CREATE_TABLES)
        yield OWN_DATABASE
        _run_everywhere(DROP_TABLES)
        if is_borrowed:
            connections[OWN_DATABASE].close()
            del connections[OWN_DATABASE]
            del connections.settings[OWN_DATABASE]


def _run_everywhere(statements: tuple[str, ...]) -> None:
    for alias in (ENGINE, OWN_DATABASE):
        for statement in statements:
            with connections[alias].cursor() as cursor:
                cursor.execute(statement)
