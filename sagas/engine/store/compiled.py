"""Queries that are compiled once and then executed with other values: the engine reads the same rows for each step.

Django compiles a query each time it is executed, which takes longer than PostgreSQL needs to find the rows by key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import connections, models
from django.db.transaction import TransactionManagementError

Row = TypeVar("Row", bound=models.Model)

# Stands for the value in the compiled query; no row has it.
_PLACEHOLDER = UUID("00000000-0000-4000-8000-000000000000")


@dataclass(frozen=True, kw_only=True)
class _Compiled:
    """SQL of a query and how its rows become instances.

    converters: of columns, by place. columns: of the model, which come first. annotations: places by name.
    """

    sql: str
    params: tuple[object, ...]
    converters: list[tuple[int, list[Callable[..., Any]], Any]]
    columns: list[str]
    annotations: dict[str, int]
    is_locking: bool


class CompiledQuery(Generic[Row]):
    """Query for instances of one model by one UUID; without related objects.

    ``build``: makes the query for an alias and a UUID, which must be all that differs between two executions.
    """

    def __init__(self, model: type[Row], build: Callable[[str, UUID], models.QuerySet[Any]]) -> None:
        self._model = model
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    def fetch(self, using: str, value: UUID) -> list[Row]:
        """Execute the query.

        Raises: TransactionManagementError if it locks rows outside of a transaction.
        """
        compiled = self._compiled.get(using) or self._compiled.setdefault(using, self._compile(using))
        connection: Any = connections[using]
        if compiled.is_locking and connection.get_autocommit():
            raise TransactionManagementError("Rows cannot be locked outside of a transaction.")
        with connection.cursor() as cursor:
            cursor.execute(compiled.sql, [value if found is _PLACEHOLDER else found for found in compiled.params])
            rows = cursor.fetchall()
        return [self._make(compiled, list(row), connection) for row in rows]

    def _compile(self, using: str) -> _Compiled:
        query: Any = self._build(using, _PLACEHOLDER).query
        compiler = query.get_compiler(using)
        sql, params = compiler.as_sql()
        if _PLACEHOLDER not in params:
            raise NotImplementedError(f"The driver of {using!r} passes UUIDs in another form; no row would be found.")
        selected = [expression for expression, _, _ in compiler.select]
        return _Compiled(
            sql=sql,
            params=tuple(_PLACEHOLDER if found == _PLACEHOLDER else found for found in params),
            converters=[(place, *found) for place, found in compiler.get_converters(selected).items()],
            columns=[selected[place].target.attname for place in compiler.klass_info["select_fields"]],
            annotations=dict(compiler.annotation_col_map),
            is_locking=query.select_for_update,
        )

    def _make(self, compiled: _Compiled, row: list[Any], connection: Any) -> Row:
        for place, converters, expression in compiled.converters:
            for convert in converters:
                row[place] = convert(row[place], expression, connection)
        found = self._model.from_db(connection.alias, compiled.columns, row[: len(compiled.columns)])
        for name, place in compiled.annotations.items():
            setattr(found, name, row[place])
        return found
