"""Leave empty databases behind a test that commits.

Django truncates every table and makes contents, permissions and groups anew, in each database and after each such test:
a tenth to a quarter of a second. Here rows are deleted where there are any, and what Django would make anew stays while
nobody has changed it: a few milliseconds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from django.db import connections, transaction
from django.test import TransactionTestCase

# Deleting leaves dead rows behind. A table of this size, also of dead rows alone, is truncated: reading it takes time.
GROWN_BYTES = 1_000_000


class Emptying:
    """Empty databases, and remember what each of them holds when it is empty."""

    def __init__(self, flush: Callable[[Any], None]) -> None:
        self._flush = flush
        self._made: dict[str, Mapping[str, str]] = {}

    def empty(self, case: Any) -> None:
        """Empty all databases of a test case; by flush if a table has grown or what Django creates has changed."""
        aliases = case._databases_names(include_mirrors=False)
        if not all(self._delete(alias) for alias in aliases):
            self._flush(case)
            self._made.update({alias: read_filled(alias) for alias in aliases})

    def _delete(self, alias: str) -> bool:
        """Delete what was filled, unless that is not all there is to do.

        Tx: opens one; two aliases may name one database, and wait for each other.
        """
        with transaction.atomic(using=alias):
            lock_tables(alias)
            filled = read_filled(alias)
            if not self._is_intact(alias, filled) or has_grown(alias):
                return False
            delete_rows(alias, filled.keys() - self._made[alias].keys())
        return True

    def _is_intact(self, alias: str, filled: Mapping[str, str]) -> bool:
        made = self._made.get(alias)
        return made is not None and {table: filled.get(table) for table in made} == made


def lock_tables(alias: str) -> None:
    """Wait, as truncating does, for whoever still writes: a server's thread that outlives its test.

    Tx: must be inside one.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(f"LOCK TABLE {', '.join(map(quote, list_tables(alias)))} IN SHARE ROW EXCLUSIVE MODE")


def read_filled(alias: str) -> Mapping[str, str]:
    """Find the tables of Django's models that have rows.

    Returns: a digest of each one's rows, by its name.
    """
    looks = [
        f"SELECT '{table}', md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {quote(table)} t HAVING count(*) > 0"  # noqa: S608
        for table in list_tables(alias)
    ]
    with connections[alias].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(looks))
        return dict(cursor.fetchall())


def has_grown(alias: str) -> bool:
    """Return whether one of the tables takes much room."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT max(pg_relation_size(name::regclass)) > %s FROM unnest(%s::text[]) name",
            [GROWN_BYTES, [quote(table) for table in list_tables(alias)]],
        )
        return bool(cursor.fetchone()[0])


def delete_rows(alias: str, tables: Iterable[str]) -> None:
    """Delete all rows of tables to which no other rows refer, past the trigger that lets no history be deleted.

    Tx: must be inside one.
    """
    statements = [f"DELETE FROM {quote(table)}" for table in sorted(tables)]  # noqa: S608
    if statements:
        with connections[alias].cursor() as cursor:
            cursor.execute("; ".join(["SET LOCAL session_replication_role = replica", *statements]))


def list_tables(alias: str) -> list[str]:
    """List the tables of Django's models in a database."""
    return connections[alias].introspection.django_table_names(only_existing=True, include_views=False)


def quote(name: str) -> str:
    """Write a table's name as SQL does."""
    return connections["default"].ops.quote_name(name)


@contextmanager
def emptying_what_is_filled() -> Iterator[None]:
    """Empty databases this way after every test that commits."""
    emptying = Emptying(TransactionTestCase._fixture_teardown)

    def empty(case: TransactionTestCase) -> None:
        emptying.empty(case)

    with patch.object(TransactionTestCase, "_fixture_teardown", empty):
        yield
