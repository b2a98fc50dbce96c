"""Templates: no number is formatted for a locale."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.template import Engine
from django.template.base import Node, VariableNode
from django.template.loader import get_template
from django.templatetags.l10n import LocalizeNode

from config.local.runtime import ROOT

# Contains no number, and is not part of the admin.
LEFT_ALONE = {"orders/docs.html", "403_csrf.html"}
TEMPLATES = sorted(
    str(path.relative_to(folder))
    for folder in ROOT.glob("*/templates")
    for path in folder.rglob("*.html")
    if str(path.relative_to(folder)) not in LEFT_ALONE
)


def list_localized(node: Any, *, is_off: bool = False) -> Iterator[str]:
    """Return what is printed outside of ``{% localize off %}``."""
    if isinstance(node, VariableNode) and not is_off and str(node.filter_expression) != "block.super":
        yield str(node.filter_expression)
    is_off = not node.use_l10n if isinstance(node, LocalizeNode) else is_off
    for name in getattr(node, "child_nodelists", Node.child_nodelists):
        for child in getattr(node, name, None) or ():
            yield from list_localized(child, is_off=is_off)


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_writes_unformatted_numbers(name: str) -> None:
    template: Any = get_template(name)

    assert [text for node in template.template.nodelist for text in list_localized(node)] == []


def test_search_detects_violations() -> None:
    assert len(TEMPLATES) > 35
    text = "{% load l10n %}{{ a }}{% localize off %}{{ b }}{% endlocalize %}{% if c %}{{ d }}{% endif %}"
    template = Engine.get_default().from_string(text)
    assert [text for node in template.nodelist for text in list_localized(node)] == ["a", "d"]
