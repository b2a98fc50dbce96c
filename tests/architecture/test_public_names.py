"""What people may rely on is listed, is all there is, and is documented."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

import sagas
import sagas.testing
from config.local.runtime import ROOT

PUBLIC = (sagas, sagas.testing)


def read_documentation() -> str:
    """Return the text of the README and of all pages."""
    return "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))


def list_names(module: ModuleType) -> set[str]:
    """List what a module holds, without private names and its submodules."""
    return {
        name for name, value in vars(module).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }


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
