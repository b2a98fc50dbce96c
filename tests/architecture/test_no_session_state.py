"""Session state: none, since behind PgBouncer each transaction may use another session."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.local.runtime import ROOT

APPS = ("sagas", "orders", "payments", "inventory", "shipping")

# Statements with effects beyond their transaction.
SESSION_STATEMENTS = re.compile(
    r"""
    \bpg_(?:try_)?advisory_(?:lock|unlock)\w*\s*\(          # only the _xact_ ones end with it
    | ^\s*SET\s+(?!LOCAL\b|CONSTRAINTS\b|TRANSACTION\b|.*\bWHERE\b) | ^\s*RESET\s
    | \bset_config\s*\([^)]*,\s*false\s*\)
    | ^\s*(?:LISTEN|UNLISTEN|PREPARE|DEALLOCATE|LOAD|DISCARD)\s+\w
    | \bDECLARE\s+\w+\s+(?:\w+\s+)*CURSOR\b
    | \bCREATE\s+(?:TEMP|TEMPORARY)\s+TABLE\b(?!.*\bON\s+COMMIT\s+DROP\b)
    """,
    re.VERBOSE | re.DOTALL,
)
SESSION_CALLS = {"iterator", "prepare", "add_notify_handler", "set_session", "set_autocommit"}


def list_sources() -> list[Path]:
    return sorted(path for app in APPS for path in (ROOT / app).rglob("*.py"))


def find_statements(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module that contain a session-level statement."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if is_text and SESSION_STATEMENTS.search(node.value):
            yield node.value


def find_calls(tree: ast.Module) -> Iterator[str]:
    """Yield the methods that leave state in the session, or use a server-side cursor."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in SESSION_CALLS:
                yield node.func.attr
            if node.func.attr == "cursor" and (node.args or any(word.arg == "name" for word in node.keywords)):
                yield "cursor with a name"


def test_no_statement_or_call_outlives_its_transaction() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {what}"
        for path in list_sources()
        for tree in [ast.parse(path.read_text())]
        for what in [*find_statements(tree), *find_calls(tree)]
    }

    assert found == set()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_lock(%s)", "SELECT pg_advisory_unlock_all()",
        "SET statement_timeout = 0", "SET search_path TO x", "SET SESSION x = 1", "RESET ALL", "LISTEN sagas",
        "SELECT set_config('x', %s, false)", "PREPARE plan AS SELECT 1", "DECLARE c CURSOR FOR SELECT 1",
        "CREATE TEMP TABLE t AS SELECT 1", "DISCARD ALL",
    ],
)  # fmt: skip
def test_session_level_statement_would_be_found(statement: str) -> None:
    assert list(find_statements(ast.parse(f"x = {statement!r}"))) == [statement]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_advisory_xact_lock(1)", "SET LOCAL statement_timeout = 0", "SET CONSTRAINTS ALL IMMEDIATE",
        "SELECT set_config('x', %s, true)", "UPDATE t SET a = 1 WHERE b", "Set it to x",
        "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1",
    ],
)  # fmt: skip
def test_transaction_level_statement_is_fine(statement: str) -> None:
    assert list(find_statements(ast.parse(f"x = {statement!r}"))) == []


@pytest.mark.parametrize("call", ["rows.iterator()", "connection.cursor('name')", "connection.cursor(name='x')"])
def test_session_level_call_would_be_found(call: str) -> None:
    assert len(list(find_calls(ast.parse(call)))) == 1
