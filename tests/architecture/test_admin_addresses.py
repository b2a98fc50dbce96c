"""Admin URLs: built in one place, which respects the current site."""

import re
from collections.abc import Iterator
from pathlib import Path

from config.local.runtime import ROOT

APPS = ("sagas", "orders", "payments", "inventory", "shipping", "config")
ONE_PLACE = ROOT / "sagas" / "admin" / "ui" / "addresses.py"
# Every site has these two; the page of a model may be missing, and "as" leaves an empty string then.
ON_EVERY_SITE = {"admin:index", "admin:app_list"}
REVERSED = re.compile(r"\b(?:reverse|reverse_lazy|resolve_url|redirect)\(\s*f?[\"']admin:|[\"']/admin/")
TAG = re.compile(r"{%-?\s*url\s+[\"'](admin:\w+)[\"'](.*?)%}")


def list_files(pattern: str) -> Iterator[Path]:
    for app in APPS:
        yield from (ROOT / app).rglob(pattern)


def find_reversals(text: str) -> list[str]:
    return REVERSED.findall(text)


def find_bare_tags(text: str) -> list[str]:
    return [name for name, rest in TAG.findall(text) if name not in ON_EVERY_SITE and " as " not in rest]


def test_no_code_reverses_admin_urls_itself() -> None:
    found = {path.relative_to(ROOT): find_reversals(path.read_text()) for path in list_files("*.py")}

    assert len(found) > 150
    assert {str(path): reversals for path, reversals in found.items() if reversals and ROOT / path != ONE_PLACE} == {}
    assert found[ONE_PLACE.relative_to(ROOT)]


def test_templates_tolerate_pages_missing_from_a_site() -> None:
    found = {path.relative_to(ROOT): find_bare_tags(path.read_text()) for path in list_files("*.html")}

    assert len(found) > 25
    assert {path: tags for path, tags in found.items() if tags} == {}


def test_search_detects_violations() -> None:
    assert find_reversals('url = reverse("admin:sagas_saga_change", args=[1])')
    assert find_reversals("reverse(f'admin:{page}_changelist')")
    assert find_reversals('prefix = "/admin/"')
    assert find_bare_tags("{% url 'admin:sagas_saga_changelist' %}") == ["admin:sagas_saga_changelist"]
    assert find_bare_tags("{% url 'admin:sagas_saga_changelist' as there %}{% url 'admin:index' %}") == []
