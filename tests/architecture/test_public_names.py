"""Public names: listed, complete and documented."""

import re
import subprocess
import sys
from types import ModuleType

import pytest

import sagas
import sagas.events
import sagas.testing
import sagas.testing.events
from config.local.runtime import ROOT

PUBLIC = (sagas, sagas.events, sagas.testing, sagas.testing.events)


def read_documentation() -> str:
    """Return the text of the README and all pages."""
    return "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))))


def list_names(module: ModuleType) -> set[str]:
    """List a module's names, lazy imports included, without private names and submodules."""
    names = {name for name in dir(module) if not name.startswith("_")}
    return {name for name in names if not isinstance(getattr(module, name), ModuleType)}


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_all_lists_every_public_name_in_order(module: ModuleType) -> None:
    assert list_names(module) == set(module.__all__)
    assert list(module.__all__) == sorted(module.__all__)


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module: ModuleType) -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"```.*?```|`[^`\n]+`", read_documentation(), re.DOTALL))))

    assert sorted(set(module.__all__) - words) == []


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_every_public_name_has_a_docstring(module: ModuleType) -> None:
    assert [name for name in module.__all__ if not (getattr(module, name).__doc__ or "").strip()] == []


def test_names_that_need_models_are_imported_lazily() -> None:
    program = (
        "import sys, sagas; assert 'start' in dir(sagas); assert 'sagas.models' not in sys.modules;"
        "from django.conf import settings; settings.configure(INSTALLED_APPS=['sagas'], SAGAS={});"
        "import django; django.setup();"
        "from sagas import start, find, wake, astart, query, summarize;"
        "assert sagas.start is start; import sagas.engine; assert sagas.engine.start is start;"
        "import asyncio; assert asyncio.iscoroutinefunction(astart)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sagas' has no attribute 'begin'"):
        _ = sagas.begin
