"""Migrations change the tables of a database that is in use, and lose nothing in either direction."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from sagas import Parallel
from sagas.conf import get_settings
from sagas.engine import advance
from sagas.models import Saga
from sagas.testing.drain import read
from sagas.worker import sweeper

from .situations import start
from .world import World, begin, define

pytestmark = pytest.mark.django_db(databases="__all__")

ARRAYS, JSON = "0009_find_people_in_the_log", "0010_queues_without_arrays"
NEWEST = "0012_closed_hooks"
# NULL is also how an array without quotes says that there is nothing.
ODD_QUEUES = ["slow", "stopped", "NULL", "b.c", "a-1"]
OTHER_QUEUES = """
    SELECT format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid) FROM pg_attribute
    JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = 'sagas_saga'::regclass AND attname = 'other_queues'
"""


def migrate_to(name: str) -> None:
    """Migrate the engine's tables; what waits for the end of the transaction would keep them from being changed."""
    connection = connections[get_settings().database]
    connection.check_constraints()
    executor = MigrationExecutor(connection)
    executor.migrate([("sagas", name)])


def ask(statement: str, *values: object) -> list[tuple[object, ...]]:
    """Return the rows of a statement."""
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def read_other_queues() -> dict[UUID, object]:
    """Return the stored queues by saga: of a column of JSON as a list, too."""
    rows: dict[UUID, object] = dict(ask("SELECT id, other_queues FROM sagas_saga"))  # type: ignore[arg-type]
    return {pk: json.loads(stored) if isinstance(stored, str) else stored for pk, stored in rows.items()}


def start_group(world: World, *queues: str) -> Saga:
    """Start a saga that begins with a group, each step in a queue of its own."""
    group = Parallel(**{f"s{number}": world.compensatable(queue=queue) for number, queue in enumerate(queues)})
    return begin(define(f"of_{len(queues)}", group=group))


def test_queues_of_sagas_are_kept_when_arrays_become_json_and_back(world: World) -> None:
    several, two, one = (start_group(world, *ODD_QUEUES), start_group(world, *ODD_QUEUES[:2]), start(world))
    queues = {several.pk: ODD_QUEUES[1:], two.pk: ODD_QUEUES[1:2], one.pk: []}
    assert read_other_queues() == queues
    assert ask(OTHER_QUEUES) == [("jsonb", True, "'[]'::jsonb")]

    migrate_to(ARRAYS)

    assert read_other_queues() == queues
    assert ask(OTHER_QUEUES) == [("character varying(60)[]", True, "'{}'::character varying[]")]

    migrate_to(JSON)

    assert read_other_queues() == queues
    assert ask(OTHER_QUEUES) == [("jsonb", True, "'[]'::jsonb")]
    migrate_to(NEWEST)
    assert {saga.pk: saga.other_queues for saga in Saga.objects.all()} == queues
    assert {due.id for due in sweeper.claim_due(queues=["stopped"])} == {several.pk, two.pk}
    advance.advance(two.pk)
    assert (read(two.pk).state, read(two.pk).other_queues) == ("completed", [])


def test_models_are_as_the_migrations_make_them() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_no_column_of_the_engine_needs_an_app_that_a_project_has_not_installed() -> None:
    """Its fields are Django's own, django_fsm's, and one of its own with Django's column."""
    homes = {type(field).__module__.partition(".fields")[0] for field in list_fields()}
    assert homes == {"django.db.models", "django_fsm", "sagas.models"}


def list_fields() -> list[object]:
    """Return the fields of every model of the engine."""
    return [field for model in apps.get_app_config("sagas").get_models() for field in model._meta.concrete_fields]
