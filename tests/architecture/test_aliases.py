"""Database aliases: the engine names one for each query and transaction, since routers may choose a replica.

Its models ask the engine's database by themselves; this keeps the code from relying on it, also where a model does not
(barriers, accounts). A relation to one row, such as ``step.saga``, cannot be told from another attribute by its
spelling: the models send that to the engine's database, too (``tests/engine/test_replicas.py``).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.local.runtime import ROOT

MANAGERS = frozenset({"objects", "_default_manager", "_base_manager"})
# First methods called on a Django manager; dicts and lists share some of these, with other arguments.
QUERIES = frozenset({
    "all", "filter", "exclude", "order_by", "using", "get", "first", "last", "exists", "count", "create", "add", "set",
    "update", "delete", "aggregate", "annotate", "values_list", "in_bulk", "iterator", "get_or_create", "only", "defer",
    "update_or_create", "bulk_create", "bulk_update", "remove", "clear", "latest", "earliest", "select_related",
    "select_for_update", "prefetch_related", "db_manager", "get_queryset",
})  # fmt: skip
RELATED = frozenset({"items", "steps", "attempts", "history", "keys", "permissions", "groups", "user_permissions"})
ROW_METHODS = frozenset({"save", "delete", "refresh_from_db", "asave", "adelete", "arefresh_from_db"})
SHORTCUTS = frozenset({"get_object_or_404", "get_list_or_404", "aget_object_or_404", "aget_list_or_404"})
TRANSACTION = frozenset({
    "atomic", "on_commit", "get_connection", "get_autocommit", "set_autocommit", "commit", "rollback", "savepoint",
    "savepoint_commit", "savepoint_rollback", "get_rollback", "set_rollback", "mark_for_rollback_on_error",
})  # fmt: skip


def find_unnamed(source: str) -> list[str]:
    """Return what would ask the routers, or uses the default alias, as ``line: what``."""
    tree = ast.parse(source)
    named = {id(node.value) for node in ast.walk(tree) if _names_alias(node)}
    found = sorted((node.lineno, text) for node in ast.walk(tree) for text in _judge(node, named))
    return [f"{line}: {text}" for line, text in found]


def _names_alias(node: ast.AST) -> bool:
    """Return whether this is ``.using`` of something, or ``.through`` of a relation, which is a model."""
    return isinstance(node, ast.Attribute) and node.attr in ("using", "db_manager", "through")


def _judge(node: ast.AST, named: set[int]) -> Iterator[str]:
    if (
        isinstance(node, ast.Attribute)
        and node.attr in MANAGERS
        and id(node) not in named
        and isinstance(node.ctx, ast.Load)
    ):
        yield f"{ast.unparse(node)} without using"
    if isinstance(node, ast.Attribute) and node.attr in QUERIES and _is_related(node.value):
        yield f"{ast.unparse(node)} is a related manager"
    if isinstance(node, ast.ImportFrom) and node.module == "django.db":
        yield from ("the default connection" for alias in node.names if alias.name == "connection")
    if isinstance(node, ast.Attribute) and ast.unparse(node) == "db.connection":
        yield "the default connection"
    if isinstance(node, ast.Call):
        yield from _judge_call(node)
    for decorator in getattr(node, "decorator_list", []):
        if ast.unparse(decorator) in ("atomic", "transaction.atomic"):
            yield f"{ast.unparse(decorator)} without using"


def _is_related(node: ast.expr) -> bool:
    """Return whether this attribute is the reverse side of a relation."""
    return isinstance(node, ast.Attribute) and (node.attr in RELATED or node.attr.endswith("_set"))


def _judge_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    owner, _, name = called.rpartition(".")
    given = {keyword.arg for keyword in node.keywords}
    if name in SHORTCUTS:
        yield f"{called} asks the routers"
    if "using" not in given and ((owner == "transaction" and name in TRANSACTION) or called == "atomic"):
        yield f"{called} without using"
    if "using" not in given and name in ROW_METHODS and _is_row(node.func):
        yield f"{called} without using"
    if name == "values" and (node.args or node.keywords) and _is_related(getattr(node.func, "value", node)):
        yield f"{called} is a related manager"
    if name == "prefetch_related":
        yield from (f"{called}({ast.unparse(each)})" for each in node.args if not _is_prefetch(each))


def _is_row(called: ast.expr) -> bool:
    """Return whether this is a method of a named object, and not of an inline query."""
    owner = called.value if isinstance(called, ast.Attribute) else called
    return isinstance(owner, ast.Name | ast.Attribute) and ast.unparse(owner) != "self"


def _is_prefetch(node: ast.expr) -> bool:
    """Return whether this prefetches rows, rather than using the related manager."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Prefetch"):
        return False
    return len(node.args) > 1 or "queryset" in {keyword.arg for keyword in node.keywords}


def list_sources() -> list[Path]:
    """Return every module of the engine."""
    return sorted((ROOT / "sagas").rglob("*.py"))


def test_engine_names_the_database_of_every_query() -> None:
    found = {
        str(path.relative_to(ROOT)): unnamed
        for path in list_sources()
        if "migrations" not in path.parts and (unnamed := find_unnamed(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "Saga.objects.filter(pk=1)", "rows = SagaStep.objects", "Saga._default_manager.get(pk=1)",
        "Saga._base_manager.all()", "saga.keys.values('value')",
        "bulk.items.filter(result=None)", "saga.steps.all()", "step.attempts.order_by('id')", "saga.keys.using(alias)",
        "entry.saga.history.count()", "flight.trip_set.exists()", "saga.sagakey_set.all()", "group.permissions.add(1)",
        "bulk.save()", "item.save(update_fields=['result'])", "self.bulk.save()", "bulk.delete()",
        "saga.refresh_from_db()",
        "get_object_or_404(Saga, pk=1)", "transaction.atomic()", "transaction.atomic(durable=True)",
        "transaction.on_commit(send)", "with transaction.atomic(): pass", "@transaction.atomic\ndef f(): ...",
        "transaction.set_rollback(True)", "from django.db import connection",
        "from django.db import models, connection",
        "rows.prefetch_related('steps')", "rows.prefetch_related(Prefetch('steps'))",
        "Exists(SagaStep.objects.filter(saga=OuterRef('pk')))", "def f():\n    for step in saga.steps.all(): pass",
    ],
)  # fmt: skip
def test_each_form_without_an_alias_would_be_found(code: str) -> None:
    assert len(find_unnamed(code)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "Saga.objects.using(alias).filter(pk=1)", "Saga._default_manager.using(alias).all()",
        "objects = EngineManager()",
        "snapshot.steps", "[step.name for step in snapshot.steps]", "reading.keys.values()", "data.items()",
        "bulk.save(using=alias, update_fields=['state'])", "items.filter(pk__in=batch).delete()",
        "SagaBulk.objects.using(alias).filter(pk=1).delete()", "transaction.atomic(using=alias, durable=True)",
        "transaction.on_commit(send, using=alias)", "from django.db import connections", "connections[alias].cursor()",
        "rows.prefetch_related(Prefetch('steps', steps, to_attr='listed_steps'))", "super().save(*args)",
    ],
)  # fmt: skip
def test_query_with_an_alias_is_not_reported(code: str) -> None:
    assert find_unnamed(code) == []
