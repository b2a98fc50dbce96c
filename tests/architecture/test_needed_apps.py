"""Required apps: ``django_fsm`` and ``sagas`` only."""

import ast
from collections.abc import Iterator
from pathlib import Path

from config.local.runtime import ROOT

# Every project has accounts; code that needs the other two is imported only if they are installed.
KNOWN_APPS = {"auth": None, "admin": "admin", "messages": "admin", "contenttypes": "admin"}
CONTRIB = "django.contrib."


def list_needed(source: str) -> set[str]:
    """Return Django's own apps that a module imports, at its top or later."""
    return {name.removeprefix(CONTRIB).partition(".")[0] for name in _list_imports(source) if name.startswith(CONTRIB)}


def _list_imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def read_engine() -> dict[Path, str]:
    """Return the source of every module of the engine, by its path below the repository."""
    return {path.relative_to(ROOT): path.read_text() for path in sorted((ROOT / "sagas").rglob("*.py"))}


def test_engine_imports_no_optional_django_app() -> None:
    found = {
        (str(path), app)
        for path, source in read_engine().items()
        for app in list_needed(source)
        if app not in KNOWN_APPS or KNOWN_APPS[app] not in (None, path.parts[1])
    }
    assert found == set()


def test_import_of_an_optional_app_would_be_found() -> None:
    forms = [
        "import django.contrib.postgres.fields",
        "from django.contrib.postgres.fields import ArrayField",
        "from django.contrib import postgres",
        "def f():\n    from django.contrib.postgres.expressions import ArraySubquery",
    ]
    assert [list_needed(source) for source in forms] == [{"postgres"}] * len(forms)
